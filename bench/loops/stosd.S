// Fill 64 KiB with one REP STOSD. ECX = fills; the result is EAX, the bytes filled, which is also what
// the next fill stores.

.intel_syntax noprefix
.code32
.set TARGET, 0x180000
.set SIZE,   0x10000
    cld
    mov     ebx, ecx
fill:
    mov     edi, OFFSET TARGET
    mov     ecx, SIZE / 4
    rep stosd
    lea     eax, [eax + edi - TARGET]
    dec     ebx
    jnz     fill
    hlt
