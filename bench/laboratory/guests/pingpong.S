// Pairs of vCPUs that wake each other in turn; others beside them store to the pages that the pairs monitor.
//
//     vCPU 2 k          woken -> rest -> work -> wake vCPU 2 k + 1 -> idle
//     vCPU 2 k + 1      the same with vCPU 2 k
//     vCPU 2 pairs ...  a burst of stores to the neighbouring lines, rest to the end of the period, and again
//
// Words: 0 = ns that a vCPU rests before it works, 1 = units of work before it wakes the other, 2 = 1 to wake by IPI
// even one that could poll, 3 = pairs, 4 = stores in a burst, 5 = ns from one burst to the next. A store is a unit of
// work of the vCPU that does it.

#include "laboratory.inc"

#define INTERVAL            WORD(0)
#define WORK_UNITS          WORD(1)
#define WAKE_BY_IPI         WORD(2)
#define PAIRS               WORD(3)
#define BURST               WORD(4)
#define PERIOD              WORD(5)

#define NEXT_LOW            OWN(0)
#define NEXT_HIGH           OWN(1)
#define TARGET              OWN(2)      // the vCPU beside whose flags it stores next

    begin_laboratory
    mov     eax, PAIRS
    shl     eax, 1
    cmp     ebx, eax
    jae     store_beside
    cmp     WAKE_BY_IPI, 0
    je      begin_round
    call    idle_without_polling
begin_round:
    test    ebx, 1
    jnz     await_turn                  // the even one begins

take_turn:
    cmp     INTERVAL, 0
    je      rested
    rdtsc
    add     eax, INTERVAL
    adc     edx, 0
    call    wait_until
rested:
    mov     ecx, WORK_UNITS
    call    work
    mov     eax, ebx
    xor     eax, 1
    call    wake
await_turn:
    call    idle
    test    eax, eax
    jz      await_turn
    jmp     take_turn

store_beside:
    cmp     BURST, 0
    jne     begin_bursts
nothing_to_store:
    call    idle
    jmp     nothing_to_store
begin_bursts:
    rdtsc
    mov     NEXT_LOW, eax
    mov     NEXT_HIGH, edx
burst:
    mov     ecx, BURST
store_next:
    mov     esi, TARGET
    mov     eax, esi
    shl     eax, 12
    inc     dword ptr [FLAGS_PAGES + NEIGHBOUR + eax]
    count   ebp + WORK
    inc     esi
    mov     eax, PAIRS
    shl     eax, 1
    cmp     esi, eax
    jb      same_round
    xor     esi, esi
same_round:
    mov     TARGET, esi
    dec     ecx
    jnz     store_next

    mov     ecx, PERIOD
    add     NEXT_LOW, ecx
    adc     NEXT_HIGH, 0
    rdtsc
    cmp     eax, NEXT_LOW
    mov     ecx, edx
    sbb     ecx, NEXT_HIGH
    jae     behind
    mov     eax, NEXT_LOW
    mov     edx, NEXT_HIGH
    call    wait_until
    jmp     burst
behind:                                 // it does not make up for what it had no time for
    mov     NEXT_LOW, eax
    mov     NEXT_HIGH, edx
    jmp     burst
