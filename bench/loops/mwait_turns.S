// MWAIT over and over, which the policy in force makes a NOP of its kind. EBP = turns.
// With EBX = 0 the same loop with NOP, for its cost alone.

.intel_syntax noprefix
.code32
    xor     ecx, ecx                    // no extensions
    xor     eax, eax
    test    ebx, ebx
    jz      bare
turn:
    mwait
    dec     ebp
    jnz     turn
    hlt
bare:
    nop
    dec     ebp
    jnz     bare
    hlt
