/* x86core/runnable.pyx and wake_fd.pyx: the reasons to go on, and the descriptor that says if there is one. */

/* Of a vCPU that waits: asked by itself before it sleeps, and by any thread for the descriptor. */
inline is_runnable(target, runnable)
{
    if
    :: atomic { attention[target] & ATTENTION_KICK -> runnable = true }
    :: !(attention[target] & ATTENTION_KICK) ->
        if
        :: atomic { immediate_exit[target] -> runnable = true }
        :: !immediate_exit[target] ->
            if
            :: atomic { interrupts[target] -> runnable = true }                 /* event_pending */
            :: !interrupts[target] ->
                if                                                              /* mwait_is_over */
                :: doing[target] == IN_MWAIT -> runnable = (state_of(monitors[target]) != WAITING)
                :: else
                fi
            fi
        fi
    fi
}

#ifdef WAKE_FD

bit wake_lock[VCPUS];
bit notified[VCPUS] = 1;                /* whether the descriptor is readable */
bit polling[VCPUS];

#define is_polling(cpu)       polling[cpu]
#define wake_fd_is_wrong(cpu) (notified[cpu] == is_waiting_state(cpu))

/* Whoever changes whether a vCPU is runnable calls this behind the change. */
inline update_wake_fd(by, target)
{
#ifndef NOTIFY_WITHOUT_LOCK
    atomic { drained(by) && !wake_lock[target] -> wake_lock[target] = 1 };
#endif
    if
    :: atomic { !is_waiting_state(target) -> runnable = true }
    :: is_waiting_state(target) -> is_runnable(target, runnable)
    fi;
    atomic { drained(by); notified[target] = runnable; runnable = false };
#ifndef NOTIFY_WITHOUT_LOCK
    atomic { drained(by); wake_lock[target] = 0 }
#endif
}

/* The VMM, before it calls run() again. */
inline poll_wake_fd(cpu)
{
    polling[cpu] = 1;
    atomic { notified[cpu] -> polling[cpu] = 0 }
}

#else

#define is_polling(cpu)       false
#define wake_fd_is_wrong(cpu) false

inline update_wake_fd(by, target)
{
    skip
}

inline poll_wake_fd(cpu)
{
    skip
}

#endif
