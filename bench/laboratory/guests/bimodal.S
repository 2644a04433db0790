// vCPU 0 wakes the others, each for itself, after idle times of two kinds: short ones and long ones.
//
// Once vCPU n has been woken, it works. So its next wake comes when it has had time for its work, a unit being taken
// for 1 us, and then been idle for a time that is drawn: short or long, and in each evenly between two bounds. A busy
// vCPU is mostly idle for a short time, another one mostly for a long one. Times do not depend on what happens, so the
// same seed gives the same wakes wherever the machine keeps up with them. A vCPU that has not noticed its last wake
// when the next one is due is left alone until the one after that.
//
// Words: 0 = units of work after a wake, 1 = how many vCPUs are busy: numbers 1 to that, 2 and 3 = shares, of 2^32, of
// short times of a busy vCPU and of any other, 4 and 5 = least short time and span in ns, 6 and 7 = the same of long ones.

#include "laboratory.inc"

#define WORK_UNITS          WORD(0)
#define BUSY                WORD(1)
#define SHARE_IF_BUSY       WORD(2)
#define SHARE_IF_NOT        WORD(3)
#define SHORT_LEAST         WORD(4)
#define SHORT_SPAN          WORD(5)
#define LONG_LEAST          WORD(6)
#define LONG_SPAN           WORD(7)

// What vCPU 0 knows of vCPU n, 16 bytes at SHARED + 16 n
#define STATE               0           // of its pseudo-random numbers
#define DUE_LOW             8
#define DUE_HIGH            12

    begin_laboratory
    test    ebx, ebx
    jz      begin_waking

await_wake:
    call    idle
    test    eax, eax
    jz      await_wake
    mov     ecx, WORK_UNITS
    call    work
    jmp     await_wake

begin_waking:
    mov     ebx, 1
begin_one:
    call    address_one
    mov     eax, ebx
    imul    eax, eax, 0x9E3779B1
    xor     eax, RANDOM
    or      eax, 1
    mov     [esi + STATE], eax
    call    random                      // the first one is not random yet
    rdtsc
    mov     [esi + DUE_LOW], eax
    mov     [esi + DUE_HIGH], edx
    call    draw
    inc     ebx
    cmp     ebx, VCPUS
    jb      begin_one

next_wake:
    mov     ebx, 1
    mov     ecx, 1                      // whose wake is the first one
    mov     eax, [SHARED + 16 + DUE_LOW]
    mov     edx, [SHARED + 16 + DUE_HIGH]
compare:
    inc     ebx
    cmp     ebx, VCPUS
    jae     found
    call    address_one
    cmp     [esi + DUE_LOW], eax
    push    ecx
    mov     ecx, [esi + DUE_HIGH]
    sbb     ecx, edx
    pop     ecx
    jae     compare
    mov     ecx, ebx
    mov     eax, [esi + DUE_LOW]
    mov     edx, [esi + DUE_HIGH]
    jmp     compare
found:
    push    ecx
    xor     ebx, ebx                    // its own number again, while it idles
    call    wait_until
    mov     eax, [esp]
    call    wake
    pop     ebx
    call    address_one
    call    draw
    jmp     next_wake

// ESI = what is known of vCPU EBX.
address_one:
    mov     esi, ebx
    shl     esi, 4
    add     esi, SHARED
    ret

// Set the next wake of vCPU EBX, at ESI. Changes EAX, ECX, EDX.
draw:
    call    random
    mov     ecx, SHARE_IF_BUSY
    cmp     ebx, BUSY
    jbe     has_share
    mov     ecx, SHARE_IF_NOT
has_share:
    cmp     eax, ecx
    jae     long
    call    random
    mul     SHORT_SPAN                  // EDX = evenly from 0 to below it
    add     edx, SHORT_LEAST
    jmp     drawn
long:
    call    random
    mul     LONG_SPAN
    add     edx, LONG_LEAST
drawn:
    imul    eax, WORK_UNITS, 1000
    add     eax, edx
    add     [esi + DUE_LOW], eax
    adc     dword ptr [esi + DUE_HIGH], 0
    ret
