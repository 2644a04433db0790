// Loads from one page after the other, over twice the pages that the TLB has entries for, so that each has to be
// looked up in the tables. ECX = loads; the result is EAX, their sum. No two neighbours lie in the same set of
// the host's caches.

#include "protected.inc"
.code32
    begin_paging
    xor     eax, eax
    xor     ebx, ebx
turn:
    mov     edx, ebx
    shr     edx, 6
    and     edx, 0xFC0
    add     eax, [ebx + edx]
    add     ebx, 0x1000
    and     ebx, 0x3FF000
    dec     ecx
    jnz     turn
    hlt
