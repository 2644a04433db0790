// vCPUs that take turns in holding a lock, and idle while they wait for it: a lock as futexes make it, first come first
// served.
//
// Whoever comes draws a ticket. The lock is its own once `serving` is that ticket; until then it idles. Whoever lets go
// raises `serving`, and wakes the owner of the new ticket. Ticket holder: store the slot, then look at `serving`. Who
// lets go: store `serving`, then look at the slot. Both stores are locked, so one of the two sees the other. A wake
// that is not needed any more is noticed when its vCPU idles the next time.
//
// Words: 0 = units of work with the lock, 1 = units of work without it.

#include "laboratory.inc"

#define WORK_WITH           WORD(0)
#define WORK_WITHOUT        WORD(1)

#define NEXT_TICKET         dword ptr ds:[SHARED]
#define SERVING             dword ptr ds:[SHARED + 64]
#define SLOTS               (SHARED + 0x1000)   // by ticket mod 64: number of the vCPU that waits + 1; 0: nobody
#define SLOTS_MASK          63
#define TICKET              OWN(0)

    begin_laboratory
acquire:
    mov     eax, 1
    lock xadd NEXT_TICKET, eax
    mov     TICKET, eax
    and     eax, SLOTS_MASK
    lea     ecx, [ebx + 1]
    xchg    [SLOTS + eax * 4], ecx      // locked
await_ticket:
    mov     eax, TICKET
    cmp     eax, SERVING
    je      acquired
    call    idle
    jmp     await_ticket

acquired:
    and     eax, SLOTS_MASK
    mov     dword ptr [SLOTS + eax * 4], 0
    mov     ecx, WORK_WITH
    call    work

    mov     eax, TICKET
    inc     eax
    mov     ecx, eax
    xchg    SERVING, ecx                // locked
    and     eax, SLOTS_MASK
    mov     eax, [SLOTS + eax * 4]
    sub     eax, 1
    jb      nobody_waits
    call    wake
nobody_waits:
    mov     ecx, WORK_WITHOUT
    call    work
    jmp     acquire
