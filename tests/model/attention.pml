/* x86core/attention.pyx: how any thread gets a vCPU's attention, and how a vCPU sleeps and is woken. */

#define ATTENTION_KICK      1
#define ATTENTION_RUN       2       /* kvm_run has changed */
#define ATTENTION_INTERRUPT 4
#define ATTENTION_SIPI      8
#define ATTENTION_SHOOTDOWN 16

#define LIMIT 1                     /* in stop_at: any count that the vCPU does not reach by itself */

byte attention[VCPUS];
bit stop_at[VCPUS];                 /* LIMIT, or 0: attend before the next block */
bit interrupts[VCPUS];              /* one vector stands for all */
bit immediate_exit[VCPUS];
bit parked[VCPUS];
bit asleep[VCPUS];                  /* in the kernel's queue of the futex `parked` */

inline request(by, target, bits)
{
#ifdef STOP_BEFORE_ATTENTION
    atomic { drained(by); stop_at[target] = 0 };
    atomic { drained(by); attention[target] = attention[target] | bits }
#else
    atomic { drained(by); attention[target] = attention[target] | bits };
    atomic { drained(by); stop_at[target] = 0 }
#endif
}

inline wake(by, target)
{
    if
    :: parked[target] ->
        if                                  /* the exchange */
        :: atomic { drained(by) && parked[target] -> parked[target] = 0 };
            asleep[target] = 0              /* futex_wake */
        :: drained(by) && !parked[target]
        fi
    :: else
    fi;
    update_wake_fd(by, target)
}

/* Ask for what ends a sleep. */
inline post(by, target, bits)
{
#ifdef WAKE_BEFORE_REQUEST
    wake(by, target);
    request(by, target, bits)
#else
    request(by, target, bits);
    wake(by, target)
#endif
}

/* futex_wait(&cpu.parked, 1): the kernel looks at the word and enters the queue in one step. */
inline park(cpu)
{
    atomic { drained(cpu); asleep[cpu] = parked[cpu] };
    !asleep[cpu]
}
