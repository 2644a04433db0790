// Waits in MWAIT on the line at EAX for as long as nobody stores there, then HLT.

.intel_syntax noprefix
.code32
    mov     ebx, eax
    xor     ecx, ecx
    xor     edx, edx
arm:
    mov     eax, ebx
    monitor
    cmp     dword ptr [ebx], 0          // after MONITOR: what was stored before it is seen here
    jne     woken
    xor     eax, eax
    mwait
    jmp     arm
woken:
    hlt
