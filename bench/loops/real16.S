// Real mode: a text of 64 KiB is scrambled byte by byte into another segment, with a histogram of the
// result and a checksum on the stack. ECX = rounds; the result is AX, the checksum of them all.
// 21 instructions a byte; the text and the histogram are made anew at the start.

.intel_syntax noprefix
.code16
.set TEXT,      0x2000                  // segments: 64 KiB each, one after the other
.set OUTPUT,    0x3000
.set HISTOGRAM, 0x4000
.set STACK,     0x5000
    mov     ax, TEXT
    mov     ds, ax
    mov     ax, OUTPUT
    mov     es, ax
    mov     ax, HISTOGRAM
    mov     fs, ax
    mov     ax, STACK
    mov     ss, ax
    xor     sp, sp                      // the first push goes to the segment's end
    push    0                           // the checksum
    mov     bp, sp

    mov     ax, 1
    xor     si, si
fill:
    imul    ax, ax, 25173               // any numbers that no round repeats
    add     ax, 13849
    mov     [si], ax
    mov     word ptr fs:[si], 0
    add     si, 2
    jnz     fill

round:
    xor     si, si
    mov     dx, cx                      // the key of this round
next:
    mov     al, [si]
    call    scramble
    mov     es:[si], al
    xor     bh, bh
    mov     bl, al
    add     bx, bx
    inc     word ptr fs:[bx]
    xor     ah, ah
    add     [bp], ax
    rol     word ptr [bp], 1
    inc     si
    jnz     next
    dec     ecx
    jnz     round
    mov     ax, [bp]
    hlt

// AL = what stands for AL under the key DX; the key moves on
scramble:
    xor     al, dl
    ror     al, 3
    add     al, dh
    mov     bx, dx
    shl     bx, 5
    shr     dx, 11
    or      dx, bx                      // DX rotated by 5
    add     dx, 0x9E37
    ret
