// From real mode to 32-bit protected mode, to print from there.
//
//     python -m vmm run protected
//
// The switch itself is the macro enter_protected_mode in protected_mode.inc. What changes for the guest:
// an offset has 32 bits and reaches all of RAM, and a segment register holds a selector, the place of a
// descriptor in the GDT, where it held the segment's address divided by 16.

#include "protected_mode.inc"

#define DEBUG_CONSOLE   0xE9
#define EXIT_PORT       0xF4

// The second MiB. Real mode reaches little more than the first one.
#define HIGH_MEMORY     0x100000

    .code16
    enter_protected_mode                // from here on 32-bit code

    // Copy the message up there: proof that the new segments reach it.
    cld
    mov     esi, offset message
    mov     edi, HIGH_MEMORY
    mov     ecx, offset message_end - message
    rep movsb

    mov     esi, HIGH_MEMORY
    call    print                       // the stack is in use as well

    xor     eax, eax
    out     EXIT_PORT, al
stop:
    hlt                                 // interrupts are off since the switch
    jmp     stop

// Print the string that ends with a 0 byte. In: ESI. Changes AL, ESI.
print:
    lodsb
    test    al, al
    jz      printed
    out     DEBUG_CONSOLE, al
    jmp     print
printed:
    ret

    .section .rodata
message:
    .asciz  "Hello from protected mode, out of the second MiB!\n"
message_end:
