// A load at privilege level 3 from a page that is not present; the handler at level 0 skips it. ECX = faults; the
// result is EAX, those that the handler has had, each at the address where the page is.

#include "protected.inc"
.set event, 0
.set NOWHERE, 0x200000
.code32
    begin_paging
    begin_protection
    and     dword ptr [TABLE + NOWHERE / 0x1000 * 4], 0
    begin_level3 program
page_fault:
    mov     edx, cr2
    cmp     edx, NOWHERE
    jne     ending
    inc     eax
    add     esp, 4                      // the error code
    mov     dword ptr [esp], OFFSET behind
    iretd
.balign 0x1000
program:
    xor     eax, eax
turn:
    mov     edx, [NOWHERE]
behind:
    dec     ecx
    jnz     turn
    int     END
