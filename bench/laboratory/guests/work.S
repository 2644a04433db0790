// Every vCPU works, and never idles. No words.

#include "laboratory.inc"

    begin_laboratory
never_idle:
    mov     ecx, 1
    call    work
    jmp     never_idle
