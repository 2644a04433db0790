// MOV to CR3, which makes the TLB forget, and a load from each of 16 pages. ECX = turns; the result is EAX, the
// sum of what was loaded.

#include "protected.inc"
.set DATA, 0x100000
.code32
    begin_paging
    mov     edx, cr3
    xor     eax, eax
turn:
    mov     cr3, edx
    .set    PAGE, 0
    .rept   16
    add     eax, [DATA + PAGE * 0x1040]
    .set    PAGE, PAGE + 1
    .endr
    dec     ecx
    jnz     turn
    hlt
