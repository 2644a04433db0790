// The smallest guest that says something: real mode, a string, the end.
//
//     python -m vmm run hello
//
// The machine starts as a PC starts a boot sector: 16-bit real mode, CS 0, IP 7C00. There is no BIOS to
// call. Two ports take its place: a byte written to the debug console is printed, and a byte written to
// the exit port ends the machine, with that byte as the status of `run`.

.intel_syntax noprefix
.code16

#define DEBUG_CONSOLE   0xE9
#define EXIT_PORT       0xF4

    xor     ax, ax
    mov     ds, ax                      // a segment counts in 16 bytes; from 0, an offset is an address
    cld                                 // LODSB moves up
    mov     si, offset greeting

next:
    lodsb                               // AL = the byte at DS:SI, then SI + 1
    test    al, al
    jz      done
    out     DEBUG_CONSOLE, al           // leaves the guest: the VMM prints AL and enters it again
    jmp     next

done:                                   // AL is 0, the code for success
    out     EXIT_PORT, al

// The VMM does not come back from that; on another machine, where the port may mean nothing, a CPU that
// ran on would execute the text below.
stop:
    cli
    hlt
    jmp     stop

greeting:
    .asciz  "Hello from real mode!\n"
