// Idle EBX times: MWAIT, which the VMM takes to userspace each time. Then write 0 to the exit port.

.intel_syntax noprefix
.code32
    xor     ecx, ecx                    // no extensions
idle:
    mwait
    dec     ebx
    jnz     idle
    xor     eax, eax
    out     0xF4, al
