// MONITOR on the first line of one page after the other, from LINE on. EBP = pages.

.intel_syntax noprefix
.code32
.set LINE, 0x200000
    mov     eax, LINE
    xor     ecx, ecx
    xor     edx, edx
turn:
    monitor
    add     eax, 4096
    dec     ebp
    jnz     turn
    hlt
