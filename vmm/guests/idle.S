// A guest that idles as kernels did before MWAIT: HLT until the timer's interrupt.
//
//     python -m vmm run idle
//     python -m vmm run idle --tick 1000 --hlt exit
//
// The VMM raises interrupt 20h at a fixed rate (--tick; `run` picks one for this guest). The handler counts,
// and the loop prints a line for each tick that it sees and ends the machine after TICKS of them.

.intel_syntax noprefix
.code16

#define DEBUG_CONSOLE   0xE9
#define EXIT_PORT       0xF4
#define TIMER_VECTOR    0x20
#define TICKS           5

    cli
    xor     ax, ax
    mov     ds, ax
    mov     ss, ax
    mov     sp, 0x7C00                  // an interrupt pushes FLAGS, CS and IP: it needs a stack
    cld

    // Real mode's interrupt vector table begins at address 0: four bytes for each vector, IP then CS.
    mov     word ptr [TIMER_VECTOR * 4], offset on_tick
    mov     word ptr [TIMER_VECTOR * 4 + 2], 0
    xor     bx, bx                      // ticks seen by the loop

idle:
    // The look and the HLT have to be one step. If a tick came after the look and before HLT, with
    // interrupts on, the guest would sleep through it. So the look is with interrupts off, and STI lets
    // them in only after the next instruction, which is HLT: a tick that is due then ends HLT at once.
    cli
    cmp     bx, word ptr [ticks]
    jne     work
    sti
    hlt
    jmp     idle

work:
    sti
    inc     bx
    mov     si, offset message
    call    print
    mov     al, bl
    add     al, '0'
    out     DEBUG_CONSOLE, al
    mov     al, '\n'
    out     DEBUG_CONSOLE, al
    cmp     bx, TICKS
    jb      idle

    xor     al, al
    out     EXIT_PORT, al
stop:
    cli
    hlt
    jmp     stop

// The interrupt's handler. It may come between any two instructions with interrupts on, so it leaves no
// register changed; IRET takes back IP, CS and FLAGS, with them the interrupt flag.
on_tick:
    inc     word ptr [ticks]
    iret

// Print the string at SI that ends with a 0 byte. Changes AL, SI.
print:
    lodsb
    test    al, al
    jz      printed
    out     DEBUG_CONSOLE, al
    jmp     print
printed:
    ret

message:
    .asciz  "tick "
ticks:
    .word   0
