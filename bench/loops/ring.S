// INT at privilege level 3 through an interrupt gate to level 0 and its stack, and IRET. ECX = interrupts; the
// result is EAX, those that the handler has had. Level 3 has the page of its loop and no other.

#include "protected.inc"
.set page_fault, 0
.code32
    begin_paging
    begin_protection
    begin_level3 program
event:
    inc     eax
    iretd
.balign 0x1000
program:
    xor     eax, eax
turn:
    int     EVENT
    dec     ecx
    jnz     turn
    int     END
