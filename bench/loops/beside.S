// Stores to ESI over and over, a doubleword each. EBP = turns.

.intel_syntax noprefix
.code32
turn:
    mov     dword ptr [esi], ebp
    dec     ebp
    jnz     turn
    hlt
