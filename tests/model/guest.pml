/* The most general guest and the most general VMM within a budget: at each turn they do anything that they
 * have left of it, or stop. Of a vCPU:
 *
 * waits   pieces of work that it takes from its line, in the idle loop of Linux
 * stores  pieces of work that it makes, each on any line
 * halts   HLT
 * spins   a loop of blocks that nothing ends but attention
 * decodes code on another page is decoded, which begins a shootdown
 * exits   run() returns, and the vCPU is entered again
 * slices  a sleep is interrupted so that Python can look for signals
 */
inline any(place, count)
{
    if
    :: place = 0
    :: count > 1 -> place = 1
    :: count > 2 -> place = 2
    fi
}

proctype vcpu(byte cpu)
{
    byte waits = WAITS, stores = STORES, halts = HALTS, spins = SPINS, decodes = DECODES, exits = EXITS,
        slices = SLICES;
    byte reason, number, entry, index, word, wanted, place;
    bit write_tag[PAGES], done, found, begun, over, runnable, triggered, asked, flag, idle;

enter:
    if
    :: immediate_exit[cpu] -> goto left
    :: else
    fi;
again:
    enter_once(cpu, reason);
resume:
    if                                          /* resume_wait */
    :: doing[cpu] == IN_MWAIT -> finish_mwait(cpu, reason)
    :: doing[cpu] == HALTED -> wait_for_interrupt(cpu, reason)
    :: else
    fi;
    do
    :: reason != EXIT_NONE -> break
    :: reason == EXIT_NONE && !stop_at[cpu] -> attend(cpu, reason)
    :: reason == EXIT_NONE && stop_at[cpu] ->
        if
        :: !idle && waits ->                    /* once round the idle loop */
#ifdef CHECK_BEFORE_MONITOR
            load(cpu, line_of(cpu), flag);
            monitor_arm(cpu, line_of(cpu));
#else
            monitor_arm(cpu, line_of(cpu));
            load(cpu, line_of(cpu), flag);
#endif
            if
            :: atomic { flag -> waits--; flag = 0; place = line_of(cpu); goto write }
            :: atomic { !flag && !stop_at[cpu] -> idle = true }     /* a block ends between the two */
            :: !flag -> goto mwait
            fi
        :: atomic { idle -> idle = false };
mwait:      monitor_wait_begin(cpu, begun);
            if
            :: atomic { begun -> begun = false; doing[cpu] = IN_MWAIT; goto resume }
            :: !begun -> monitor_disarm(cpu)
            fi
        :: atomic { !idle && stores -> stores--; flag = 1; any(place, LINES) };
write:      write_linear(cpu, place, flag);
            atomic { place = 0; flag = 0 }
        :: atomic { !write_tag[page_of(line_of(cpu))] && attributes[page_of(line_of(cpu))] == 0 ->
            fill(page_of(line_of(cpu))) }       /* by a load */
        :: atomic { !idle && halts -> halts--; doing[cpu] = HALTED; goto resume }
#ifdef WAKE_FD
        :: atomic { !idle && halts -> halts--; doing[cpu] = HALTED; reason = EXIT_HLT }
#endif
        :: atomic { !idle && spins -> spins--; doing[cpu] = SPINNING };
            atomic { !stop_at[cpu] -> doing[cpu] = RUNNABLE }
        :: atomic { !idle && decodes -> decodes-- }; shootdown(cpu)
        :: atomic { exits -> exits--; reason = EXIT_INTR }
        :: goto stop
        fi
    od;
    leave_guest(cpu);
    if
    :: atomic { reason == EXIT_AGAIN -> reason = EXIT_NONE; goto again }
    :: atomic { reason == EXIT_SIGNAL -> reason = EXIT_NONE; goto enter }
    :: else
    fi;
left:
    reason = EXIT_NONE;
    update_wake_fd(cpu, cpu);
    if                                          /* the VMM has seen what it wanted run() to end for */
    :: immediate_exit[cpu] -> immediate_exit[cpu] = 0; post(cpu, cpu, ATTENTION_RUN)
    :: else
    fi;
    poll_wake_fd(cpu);
    goto enter;
stop:
    leave_guest(cpu);
    d_step {
        doing[cpu] = STOPPED;                   /* and what nobody will ask for again is forgotten */
        write_tag[0] = 0; idle = 0;
        waits = 0; stores = 0; halts = 0; spins = 0; decodes = 0; exits = 0; slices = 0
    }
}

/* The VMM's other threads and its devices: no TLB, never in the guest. */
proctype host()
{
    byte stores = HOST_STORES, vectors = INTERRUPTS, kicks = KICKS, immediate = IMMEDIATE_EXITS, sipis = SIPIS;
    byte index, word, place;
    bit found, runnable;
    do
    :: atomic { stores -> stores--; any(place, LINES) };
        store(HOST, place, 1);
        after_store(HOST, place);
        place = 0
    :: atomic { vectors -> vectors--; any(place, VCPUS) };
        atomic { drained(HOST); interrupts[place] = 1 };
        post(HOST, place, ATTENTION_INTERRUPT);
        place = 0
    :: atomic { kicks -> kicks--; any(place, VCPUS) };
        post(HOST, place, ATTENTION_KICK);
        place = 0
    :: atomic { immediate -> immediate--; any(place, VCPUS) };
        immediate_exit[place] = 1;
        post(HOST, place, ATTENTION_RUN);
        place = 0
    :: atomic { sipis -> sipis--; any(place, VCPUS) };
        post(HOST, place, ATTENTION_SIPI);
        place = 0
    :: break
    od
}
