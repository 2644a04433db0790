/* x86core/monitor.pyx: the address monitor behind MONITOR and MWAIT. */

#define IDLE      0
#define ARMED     1
#define WAITING   2
#define TRIGGERED 3

#define page_of(line) ((line) % PAGES)
#define bit_of(line)  (1 << (line))

/* A monitor is one word, line and state. */
#define word_of(line, state) ((line) << 2 | (state))
#define line_in(word)        ((word) >> 2)
#define state_of(word)       ((word) & 3)
#define armed(word)          (state_of(word) == ARMED || state_of(word) == WAITING)
#define armed_at(word, line) (armed(word) && line_in(word) == line)
#ifdef RELEASE_WHILE_ARMED
#define armed_on(word, page) false
#else
#define armed_on(word, page) (armed(word) && page_of(line_in(word)) == page)
#endif

#ifdef ACKNOWLEDGED_KEPT
#define GIVEN_UP PAGE_PROTECTED
#else
#define GIVEN_UP (PAGE_PROTECTED | PAGE_ACKNOWLEDGED)
#endif

/* A compare-and-swap happens when the word is still what it was. */
#ifdef WAIT_WITHOUT_SWAP
#define wait_swaps(same) true
#else
#define wait_swaps(same) (same)
#endif
#ifdef TRIGGER_WITHOUT_SWAP
#define trigger_swaps(same) true
#else
#define trigger_swaps(same) (same)
#endif

byte monitors[VCPUS];
byte monitored_lines[PAGES];
byte protected_at[PAGES];

inline monitor_disarm(cpu)
{
    atomic { drained(cpu); monitors[cpu] = IDLE }
}

inline protect(cpu, page, done)
{
    if
    :: attributes[page] & PAGE_ACKNOWLEDGED -> done = true
    :: else ->
        if
        :: !(attributes[page] & PAGE_PROTECTED) ->
            atomic { drained(cpu); attributes[page] = attributes[page] | PAGE_PROTECTED };
#ifdef NUMBER_READ_EARLY
            protected_at[page] = latest;
            shootdown(cpu)
#else
            shootdown(cpu);
            protected_at[page] = latest
#endif
        :: else
        fi;
        if
        :: acknowledged[cpu] < protected_at[page] -> answer_shootdown(cpu)
        :: else
        fi;
        everybody_answered(protected_at[page], done);
        if
        :: done -> atomic { drained(cpu); attributes[page] = attributes[page] | PAGE_ACKNOWLEDGED }
        :: else
        fi
    fi
}

inline monitor_arm(cpu, line)
{
    lock_page(cpu, page_of(line));
    protect(cpu, page_of(line), done);
    if
    :: done ->
        if
        :: monitored_lines[page_of(line)] & bit_of(line)
        :: else ->
            atomic { drained(cpu);
                monitored_lines[page_of(line)] = monitored_lines[page_of(line)] | bit_of(line) }
        fi;
        atomic { drained(cpu); monitors[cpu] = word_of(line, ARMED); done = false }
    :: else -> monitor_disarm(cpu)
    fi;
    unlock_page(cpu, page_of(line))
}

/* Whether MWAIT is to wait. */
inline monitor_wait_begin(cpu, begun)
{
    if
    :: state_of(monitors[cpu]) == ARMED ->
        if
        :: atomic { drained(cpu) && wait_swaps(state_of(monitors[cpu]) == ARMED) ->
            monitors[cpu] = word_of(line_of(cpu), WAITING); begun = true }
        :: drained(cpu) && !wait_swaps(state_of(monitors[cpu]) == ARMED)
        fi
    :: else
    fi
}

inline trigger(by, line, found)
{
    do
    :: atomic { index < VCPUS && armed_at(monitors[index], line) -> word = monitors[index] };
        if
        :: atomic { drained(by) && trigger_swaps(monitors[index] == word) ->
            monitors[index] = word_of(line, TRIGGERED); found = true };
            if
            :: state_of(word) == WAITING -> wake(by, index)
            :: else
            fi;
            atomic { index++; word = 0 }
        :: drained(by) && !trigger_swaps(monitors[index] == word)   /* changed since: look again */
        fi
    :: atomic { index < VCPUS && !armed_at(monitors[index], line) -> index++ }
    :: atomic { index == VCPUS -> index = 0; break }
    od
}

inline release(by, page)
{
    if
#ifdef RELEASE_WITHOUT_LOCK
    :: true ->
#else
    :: drained(by) && page_lock[page]           /* somebody arms there at this moment */
    :: atomic { drained(by) && !page_lock[page] -> page_lock[page] = 1 };
#endif
        do
        :: atomic { index < VCPUS && !armed_on(monitors[index], page) -> index++ }
        :: atomic { index < VCPUS && armed_on(monitors[index], page) -> index = 0; break }
        :: index == VCPUS ->
            atomic { drained(by); monitored_lines[page] = 0 };
            atomic { drained(by); attributes[page] = attributes[page] & ~GIVEN_UP; index = 0 };
            break
        od;
#ifdef RELEASE_WITHOUT_LOCK
        skip
#else
        unlock_page(by, page)
#endif
    fi
}

inline monitor_store(by, line)
{
    if
    :: monitored_lines[page_of(line)] & bit_of(line) -> trigger(by, line, found)
    :: else
    fi;
    if
    :: by == HOST || found -> found = false
    :: by != HOST && !found                     /* a false fault: up to RELEASE_AFTER of them */
    :: by != HOST && !found -> release(by, page_of(line))
    fi
}
