// Register arithmetic: no memory, one short loop. ECX = turns; the result is EAX.
// 10 instructions a turn.

.intel_syntax noprefix
.code32
    mov     eax, 1
    mov     ebx, 0x9E3779B9             // any value with bits all over
    mov     edx, 3
turn:
    add     eax, ebx
    xor     edx, eax
    lea     esi, [eax + edx * 2]
    sub     ebx, esi
    or      edx, 1
    and     esi, 0xFF
    add     eax, esi
    not     ebx
    dec     ecx
    jnz     turn
    hlt
