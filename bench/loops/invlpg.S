// INVLPG and a load from its page, beside loads from a 4 MiB page as a kernel has it. ECX = turns; the result is
// EAX, the sum of what was loaded.

#include "protected.inc"
.set PAGE, 0x100000
.set LARGE_PAGE, 0x400000               // RAM a second time
.code32
    begin_paging
    mov     eax, cr4
    or      eax, 0x10                   // CR4.PSE
    mov     cr4, eax
    mov     dword ptr [DIRECTORY + 4], PRESENT | WRITABLE | ACCESSED | LARGE
    xor     eax, eax
turn:
    invlpg  [PAGE]
    add     eax, [PAGE]
    add     eax, [LARGE_PAGE + PAGE + 0x1000]
    dec     ecx
    jnz     turn
    hlt
