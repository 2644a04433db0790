// A guest of a PC: it echoes in capitals what comes in at the serial port, and sleeps meanwhile.
//
//     python -m vmm run serial
//     echo hello | python -m vmm run serial
//
// The serial port and the timer interrupt through the two 8259A. It ends after Ctrl-D, or when nothing has
// come for SILENCE ticks of the timer, and prints for how many it has run.

.intel_syntax noprefix
.code16

#define EXIT_PORT       0xF4

// The two 8259A: master and slave, each a command and a data port.
#define MASTER          0x20
#define MASTER_DATA     0x21
#define SLAVE           0xA0
#define SLAVE_DATA      0xA1
#define INITIALIZE      0x11            // ICW1: edges, two chips, ICW4 follows
#define CASCADE         2               // the line of the master at which the slave is
#define MODE_8086       0x01            // ICW4
#define END_INTERRUPT   0x20            // OCW2: non-specific EOI
#define VECTORS         0x20            // of IRQ 0: the first that no exception has
#define TIMER_IRQ       0
#define SERIAL_IRQ      4

// The 8254. It counts 1,193,182 a second.
#define COUNTER_0       0x40
#define TIMER_CONTROL   0x43
#define RATE_GENERATOR  0x34            // counter 0, low and high byte, mode 2
#define DIVISOR         11932           // 100 Hz
#define SILENCE         500             // 5 s

// The 16550.
#define DATA            0x3F8
#define INTERRUPTS      0x3F9
#define IDENTIFICATION  0x3FA
#define FIFO_CONTROL    0x3FA
#define LINE_CONTROL    0x3FB
#define MODEM_CONTROL   0x3FC
#define EIGHT_BITS      0x03
#define USE_FIFOS       0x07            // and empty them; interrupt for each byte
#define DTR_RTS_OUT2    0x0B            // OUT2 lets the interrupt out of the card
#define WHEN_DATA_COME  0x01
#define NONE_PENDING    0x01

#define CTRL_D          0x04

    cli
    cld
    xor     ax, ax
    mov     ds, ax
    mov     ss, ax
    mov     sp, 0x7C00
    mov     word ptr [(VECTORS + TIMER_IRQ) * 4], offset on_tick
    mov     word ptr [(VECTORS + TIMER_IRQ) * 4 + 2], 0
    mov     word ptr [(VECTORS + SERIAL_IRQ) * 4], offset on_serial
    mov     word ptr [(VECTORS + SERIAL_IRQ) * 4 + 2], 0

    // Each 8259A gets its four initialization words in turn, then its mask: a bit for each line that it
    // is not to hear.
    mov     al, INITIALIZE
    out     MASTER, al
    out     SLAVE, al
    mov     al, VECTORS
    out     MASTER_DATA, al
    mov     al, VECTORS + 8
    out     SLAVE_DATA, al
    mov     al, 1 << CASCADE
    out     MASTER_DATA, al
    mov     al, CASCADE
    out     SLAVE_DATA, al
    mov     al, MODE_8086
    out     MASTER_DATA, al
    out     SLAVE_DATA, al
    mov     al, 0xFF & ~(1 << TIMER_IRQ | 1 << SERIAL_IRQ)
    out     MASTER_DATA, al
    mov     al, 0xFF
    out     SLAVE_DATA, al

    mov     al, RATE_GENERATOR
    out     TIMER_CONTROL, al
    mov     al, DIVISOR & 0xFF
    out     COUNTER_0, al
    mov     al, DIVISOR >> 8
    out     COUNTER_0, al

    mov     dx, LINE_CONTROL
    mov     al, EIGHT_BITS
    out     dx, al
    mov     dx, FIFO_CONTROL
    mov     al, USE_FIFOS
    out     dx, al
    mov     dx, MODEM_CONTROL
    mov     al, DTR_RTS_OUT2
    out     dx, al
    mov     dx, INTERRUPTS
    mov     al, WHEN_DATA_COME
    out     dx, al

    mov     si, offset greeting
    call    print

    // Bytes wait in a ring: the handler puts them in at `filled`, the loop takes them out at `taken`, of
    // which BX is a copy. The look and the HLT are one step, as in `idle`: STI lets interrupts in only
    // behind the instruction after it.
    xor     bx, bx
idle:
    cli
    cmp     bx, word ptr [filled]
    jne     work
    cmp     word ptr [silence], SILENCE
    jae     end
    sti
    hlt
    jmp     idle

work:
    sti
    mov     al, byte ptr [ring + bx]
    inc     bl                          // the ring is of 256 bytes
    mov     word ptr [taken], bx
    mov     word ptr [silence], 0
    cmp     byte ptr [is_full], 0
    je      has_room
    mov     byte ptr [is_full], 0
    push    ax
    mov     dx, INTERRUPTS
    mov     al, WHEN_DATA_COME
    out     dx, al
    pop     ax
has_room:
    cmp     al, CTRL_D
    je      end
    cmp     al, '\r'                    // what the Enter key of a terminal sends
    jne     not_enter
    mov     al, '\n'
not_enter:
    cmp     al, 'a'
    jb      echo
    cmp     al, 'z'
    ja      echo
    sub     al, 'a' - 'A'
echo:
    mov     dx, DATA
    out     dx, al
    jmp     idle

end:
    cli
    mov     si, offset farewell
    call    print
    mov     ax, word ptr [ticks]
    call    print_number
    mov     si, offset of_ticks
    call    print
    xor     al, al
    out     EXIT_PORT, al
stop:
    cli
    hlt
    jmp     stop

on_tick:
    push    ax
    inc     word ptr [ticks]
    inc     word ptr [silence]
    mov     al, END_INTERRUPT
    out     MASTER, al
    pop     ax
    iret

// More than one byte may have come: the line falls only when none is left, and the master hears its next
// rise. When the ring is full, the port is not to interrupt until the loop has taken something.
on_serial:
    push    ax
    push    dx
    push    bx
next_byte:
    mov     dx, IDENTIFICATION
    in      al, dx
    test    al, NONE_PENDING
    jnz     no_more
    mov     bx, word ptr [filled]
    inc     bl
    cmp     bx, word ptr [taken]
    je      full
    mov     dx, DATA
    in      al, dx
    xchg    bx, word ptr [filled]
    mov     byte ptr [ring + bx], al
    jmp     next_byte
full:
    mov     byte ptr [is_full], 1
    mov     dx, INTERRUPTS
    xor     al, al
    out     dx, al
no_more:
    mov     al, END_INTERRUPT
    out     MASTER, al
    pop     bx
    pop     dx
    pop     ax
    iret

// Print the string at SI that ends with a 0 byte. Changes AL, DX, SI.
print:
    mov     dx, DATA
next_character:
    lodsb
    test    al, al
    jz      printed
    out     dx, al
    jmp     next_character
printed:
    ret

// Print AX in decimal. Changes AX, BX, CX, DX.
print_number:
    mov     bx, 10
    xor     cx, cx
next_quotient:
    xor     dx, dx
    div     bx
    push    dx
    inc     cx
    test    ax, ax
    jnz     next_quotient
    mov     dx, DATA
next_digit:
    pop     ax
    add     al, '0'
    out     dx, al
    loop    next_digit
    ret

greeting:
    .asciz  "Say something; Ctrl-D ends.\n"
farewell:
    .asciz  "\nGood-bye after "
of_ticks:
    .asciz  " ticks.\n"

    .balign 2
filled:
    .word   0
taken:
    .word   0
ticks:
    .word   0
silence:
    .word   0
is_full:
    .byte   0
ring:
    .fill   256, 1, 0
