// vCPU 0 idles until a device has written into its ring, and reads what is there. The latency of an entry is that from
// just before it was written until the vCPU has taken it up. A unit of work is a word read.
//
// The device writes the entry first and the doorbell last. The doorbell lies in the line that MWAIT monitors, so under
// these policies the device sends no interrupt; a guest that idles in HLT needs one, WAKE_VECTOR. An entry that is not
// the next one ends the machine with status 1. No words.

#include "laboratory.inc"

    begin_laboratory
next_entry:
    mov     eax, CONSUMED
    cmp     eax, DOORBELL
    je      nothing_there
    and     eax, RING_ENTRIES - 1
    shl     eax, 12
    lea     esi, [DEVICE_RING + eax]
    push    esi
    call    record_since
    pop     esi
    mov     eax, CONSUMED
    cmp     eax, [esi + 8]
    jne     wrong_entry
    mov     ecx, [esi + 12]
    add     [ebp + WORK], ecx
    adc     dword ptr [ebp + WORK + 4], 0
    jecxz   read
read_on:
    add     edx, [esi + 12 + ecx * 4]
    dec     ecx
    jnz     read_on
read:
    count   ebp + WAKES
    inc     CONSUMED
    jmp     next_entry

nothing_there:
    call    idle
    jmp     next_entry

wrong_entry:
    mov     al, 1
    jmp     failed
