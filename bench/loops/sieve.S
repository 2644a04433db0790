// The sieve of Eratosthenes with a byte for each number below 65,536. ECX = rounds; EAX = primes found
// in all rounds, 6,542 in each.

.intel_syntax noprefix
.code32
.set COMPOSITE, 0x100000                // byte n is 1 when n is composite
.set SIZE,      0x10000
    xor     eax, eax
round:
    xor     ebx, ebx
clear:
    mov     byte ptr [COMPOSITE + ebx], 0
    inc     ebx
    cmp     ebx, SIZE
    jb      clear

    mov     ebx, 2
candidate:
    cmp     byte ptr [COMPOSITE + ebx], 0
    jne     next
    inc     eax
    lea     edx, [ebx + ebx]
    cmp     edx, SIZE
    jae     next
mark:
    mov     byte ptr [COMPOSITE + edx], 1
    add     edx, ebx
    cmp     edx, SIZE
    jb      mark
next:
    inc     ebx
    cmp     ebx, SIZE
    jb      candidate

    dec     ecx
    jnz     round
    hlt
