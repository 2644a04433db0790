// INT through an interrupt gate, and IRET, both at privilege level 0. ECX = interrupts; the result is EAX, those
// that the handler has had.

#include "protected.inc"
.set page_fault, 0
.code32
    begin_paging
    begin_protection
    xor     eax, eax
turn:
    int     EVENT
    dec     ecx
    jnz     turn
    hlt
event:
    inc     eax
    iretd
