// The same as mwait.S for a peer that knows no exit on MWAIT, but stops at HLT.

.intel_syntax noprefix
.code32
    xor     ecx, ecx                    // as in mwait.S
idle:
    hlt
    dec     ebx
    jnz     idle
