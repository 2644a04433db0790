/* x86core/idle.pyx: how a vCPU waits in the core, in HLT or in MWAIT. */

inline enter_guest(cpu)
{
#ifndef NUMBER_BEFORE_LOCATION
    atomic { drained(cpu); location[cpu] = IN_GUEST };
#endif
    if
    :: latest != acknowledged[cpu] -> answer_shootdown(cpu)
    :: else
    fi
#ifdef NUMBER_BEFORE_LOCATION
    ; atomic { drained(cpu); location[cpu] = IN_GUEST }
#endif
}

inline leave_guest(cpu)
{
    atomic { drained(cpu); location[cpu] = OUTSIDE_GUEST }
}

inline sleep(cpu, over)
{
    do
    ::
#ifdef PARKED_AFTER_LOOK
        is_runnable(cpu, over);
        atomic { drained(cpu); parked[cpu] = 1 };
#else
        atomic { drained(cpu); parked[cpu] = 1 };
        is_runnable(cpu, over);
#endif
        if
        :: over -> break
        :: !over -> park(cpu)
        :: atomic { !over && slices -> slices--; break }        /* Python is to look for signals */
        fi
    od;
    atomic { drained(cpu); parked[cpu] = 0 }
}

/* Spinning first is left out: it looks at the same reasons and does not sleep. */
inline wait(cpu, over)
{
#ifndef SLEEP_IN_GUEST
    leave_guest(cpu);
#endif
    update_wake_fd(cpu, cpu);
    sleep(cpu, over);
    enter_guest(cpu)
}

inline end_wait(cpu)
{
    atomic { drained(cpu); stop_at[cpu] = 0 };
    update_wake_fd(cpu, cpu)
}

/* Whether a kick, which is hereby answered, is all that is wanted. */
inline only_kicked(cpu, reason)
{
    if
    :: interrupts[cpu]
    :: !interrupts[cpu] ->
        if
        :: attention[cpu] & ATTENTION_KICK ->
            atomic { drained(cpu); attention[cpu] = attention[cpu] & ~ATTENTION_KICK; reason = EXIT_INTR }
        :: else
        fi
    fi
}

/* Whether there was a SIPI, which a vCPU that runs already does not heed. */
inline accept_start(cpu, reason)
{
    if
    :: atomic { drained(cpu) && attention[cpu] & ATTENTION_SIPI ->
        attention[cpu] = attention[cpu] & ~ATTENTION_SIPI; reason = EXIT_AGAIN }
    :: drained(cpu) && !(attention[cpu] & ATTENTION_SIPI)
    fi
}

/* HLT. After a kick the vCPU is still HALTED, and the next run() waits on. */
inline wait_for_interrupt(cpu, reason)
{
    wait(cpu, over);
    if
    :: over ->
        over = false;
        accept_start(cpu, reason);
        if
        :: reason == EXIT_NONE ->
            if
            :: atomic { interrupts[cpu] -> doing[cpu] = RUNNABLE }; end_wait(cpu)
            :: !interrupts[cpu] -> end_wait(cpu); only_kicked(cpu, reason); reason = EXIT_INTR
            fi
        :: else
        fi
    :: else -> reason = EXIT_SIGNAL
    fi
}

/* MWAIT under the policy `fault`, from the moment on that its monitor is WAITING. */
inline finish_mwait(cpu, reason)
{
    wait(cpu, over);
    if
    :: over ->
        atomic { doing[cpu] = RUNNABLE; over = false };
        atomic {                                    /* monitor_wait_end */
            drained(cpu);
            triggered = (state_of(monitors[cpu]) == TRIGGERED);
            monitors[cpu] = IDLE
        };
        accept_start(cpu, reason);
        if
        :: reason == EXIT_NONE ->
            if
            :: triggered
            :: else -> only_kicked(cpu, reason)
            fi;
            end_wait(cpu)
        :: else
        fi;
        triggered = false
    :: else -> reason = EXIT_SIGNAL
    fi
}
