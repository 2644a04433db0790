/* x86core/shootdown.pyx: taking write tags away from every vCPU, without waiting for any. */

#define OUTSIDE_GUEST 0
#define IN_GUEST      1

#define PAGE_PROTECTED    1
#define PAGE_ACKNOWLEDGED 2

byte attributes[PAGES];
bit page_lock[PAGES];

byte latest;                    /* RAM.shootdown: the number of the latest one */
byte acknowledged[VCPUS];
bit location[VCPUS];

inline lock_page(cpu, page)     /* the spinning is a wait here */
{
    atomic { !page_lock[page] && drained(cpu); page_lock[page] = 1 }
}

inline unlock_page(cpu, page)
{
    atomic { drained(cpu); page_lock[page] = 0 }
}

inline answer_shootdown(cpu)
{
#ifndef NUMBER_READ_AFTER_TAGS
    number = latest;
#endif
    do
    :: atomic { entry < PAGES ->
        write_tag[entry] = write_tag[entry] && attributes[entry] == 0;
        entry++ }
#ifdef NUMBER_READ_AFTER_TAGS
    :: atomic { entry == PAGES && !number -> number = latest }
    :: atomic { entry == PAGES && number && drained(cpu) ->
#else
    :: atomic { entry == PAGES && drained(cpu) ->
#endif
        acknowledged[cpu] = number; number = 0; entry = 0; break }
    od
}

inline shootdown(by)
{
    atomic { drained(by); latest++ };
    do
    :: index < VCPUS && index != by && location[index] == IN_GUEST ->
        request(by, index, ATTENTION_SHOOTDOWN);
        index++
    :: atomic { index < VCPUS && (index == by || location[index] == OUTSIDE_GUEST) -> index++ }
    :: atomic { index == VCPUS -> index = 0; break }
    od;
    answer_shootdown(by)
}

inline everybody_answered(wanted, answered)
{
#ifdef NO_ACKNOWLEDGEMENT
    answered = true
#else
    do
    :: atomic { index < VCPUS && acknowledged[index] >= wanted -> index++ }
    :: index < VCPUS && acknowledged[index] < wanted ->
        if
        :: atomic { location[index] == OUTSIDE_GUEST -> index++ }
        :: atomic { else -> index = 0; break }
        fi
    :: atomic { index == VCPUS -> index = 0; answered = true; break }
    od
#endif
}
