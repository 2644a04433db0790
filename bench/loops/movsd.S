// Copy 64 KiB with one REP MOVSD. ECX = copies; the result is EAX, the bytes copied.
// Source and target are where copy.S has them.

.intel_syntax noprefix
.code32
.set SOURCE, 0x100000
.set TARGET, 0x180000
.set SIZE,   0x10000
    cld
    mov     ebx, ecx
copy:
    mov     esi, OFFSET SOURCE
    mov     edi, OFFSET TARGET
    mov     ecx, SIZE / 4
    rep movsd
    lea     eax, [eax + edi - TARGET]
    dec     ebx
    jnz     copy
    hlt
