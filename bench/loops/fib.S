// Fibonacci numbers by recursion: calls, returns and the stack. ECX = n; the result is EAX = fib(n).

.intel_syntax noprefix
.code32
    mov     eax, ecx
    call    fib
    hlt

// EAX = fib(EAX); EBX is preserved
fib:
    cmp     eax, 2
    jb      known                       // fib(0) = 0, fib(1) = 1
    push    ebx
    mov     ebx, eax
    lea     eax, [ebx - 1]
    call    fib
    xchg    eax, ebx                    // EBX = fib(n - 1), EAX = n
    sub     eax, 2
    call    fib
    add     eax, ebx
    pop     ebx
known:
    ret
