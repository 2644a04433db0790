// Copy 64 KiB with a load and a store for each four bytes. ECX = copies.
// 5 instructions a word, 16,384 words a copy. Source and target are so far apart that no page of one
// shares its slot with a page of the other in a direct-mapped TLB of 256 entries, as the peer has it.

.intel_syntax noprefix
.code32
.set SOURCE, 0x100000
.set TARGET, 0x180000
.set SIZE,   0x10000
copy:
    xor     ebx, ebx
next:
    mov     eax, [SOURCE + ebx]
    mov     [TARGET + ebx], eax
    add     ebx, 4
    cmp     ebx, SIZE
    jb      next
    dec     ecx
    jnz     copy
    hlt
