// Every vCPU idles, and nobody wakes it. No words.

#include "laboratory.inc"

    begin_laboratory
idle_on:
    call    idle
    jmp     idle_on
