// MONITOR on one line over and over. EBP = turns. The line is at LINE; its page has been protected before.
// With EBX = 0 the same loop without MONITOR, for its cost alone.

.intel_syntax noprefix
.code32
.set LINE, 0x200000
    mov     eax, LINE
    xor     ecx, ecx
    xor     edx, edx
    test    ebx, ebx
    jz      bare
turn:
    monitor
    dec     ebp
    jnz     turn
    hlt
bare:
    nop
    dec     ebp
    jnz     bare
    hlt
