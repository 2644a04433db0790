// Every vCPU has a periodic tick of its own, works a little at each, and is idle in between. The latency is that from
// the moment for which the timer was set until the vCPU goes on.
//
// Words: 0 = ns from one tick to the next, 1 = units of work at each.

#include "laboratory.inc"

#define PERIOD              WORD(0)
#define WORK_UNITS          WORD(1)

#define NEXT                OWN(0)      // TSC of the next tick: 8 bytes
#define NEXT_HIGH           OWN(1)

    begin_laboratory
    rdtsc
from_now:
    mov     NEXT, eax
    mov     NEXT_HIGH, edx
tick:
    mov     eax, PERIOD
    add     NEXT, eax
    adc     NEXT_HIGH, 0
    rdtsc
    mov     ecx, edx
    cmp     eax, NEXT
    sbb     ecx, NEXT_HIGH
    jae     from_now                    // ticks that there was no time for are dropped
    mov     eax, NEXT
    mov     edx, NEXT_HIGH
    call    wait_until
    lea     esi, NEXT
    call    record_since
    count   ebp + WAKES
    mov     ecx, WORK_UNITS
    call    work
    jmp     tick
