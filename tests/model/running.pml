/* x86core/running.pyx and dispatch.pyx: into the guest, and what a vCPU attends to between two blocks. */

inline set_stop_at(cpu)
{
    atomic { drained(cpu); stop_at[cpu] = LIMIT }
}

/* One turn of the loop in enter_once, as far as the guest. */
inline enter_once(cpu, reason)
{
#ifndef LIMIT_AFTER_LOOK
    set_stop_at(cpu);
#endif
    enter_guest(cpu);
    if
    :: attention[cpu] -> asked = true
    :: !attention[cpu] -> asked = interrupts[cpu]
    fi;
#ifdef LIMIT_AFTER_LOOK
    set_stop_at(cpu);
#endif
    if
    :: asked ->
        atomic { drained(cpu); stop_at[cpu] = 0; asked = false };
        accept_start(cpu, reason);
        reason = EXIT_NONE
    :: else
    fi
}

#ifdef RUN_DROPPED
#define PUT_BACK (ATTENTION_SIPI | ATTENTION_KICK)
#else
#define PUT_BACK (ATTENTION_SIPI | ATTENTION_KICK | ATTENTION_RUN)
#endif

/* Of an interrupt's handler nothing is modelled but its IRET, which disarms the monitor. */
inline attend(cpu, reason)
{
#ifndef ATTENTION_BEFORE_STOP
    set_stop_at(cpu);
#endif
    atomic { drained(cpu); wanted = attention[cpu]; attention[cpu] = 0 };
#ifdef ATTENTION_BEFORE_STOP
    set_stop_at(cpu);
#endif
    if
    :: wanted & ATTENTION_SHOOTDOWN -> answer_shootdown(cpu)
    :: else
    fi;
    if
    :: wanted & ATTENTION_SIPI ->
        atomic { drained(cpu); attention[cpu] = attention[cpu] | wanted & PUT_BACK; reason = EXIT_AGAIN }
    :: !(wanted & ATTENTION_SIPI) &&
            (wanted & ATTENTION_KICK || wanted & ATTENTION_RUN && immediate_exit[cpu]) ->
        reason = EXIT_INTR
    :: else ->
        if
        :: interrupts[cpu] ->
            atomic { drained(cpu); interrupts[cpu] = 0 };           /* take_interrupt */
            monitor_disarm(cpu)
        :: else
        fi
    fi;
    wanted = 0
}
