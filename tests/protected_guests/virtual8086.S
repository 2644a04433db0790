// A virtual-8086 monitor: a 16-bit program runs in virtual-8086 mode with IOPL 0 and believes to be alone. The monitor
// emulates what faults (CLI, STI, PUSHF, POPF, INT n, IRET, HLT, OUT), keeps a virtual interrupt flag, and passes on
// its timer's interrupts as those of an 8259A, vector 8, while the program allows them (SDM vol. 3, 21.2).

#include "kernel.inc"

.set TIMER, 0x20
.set GENERAL_PROTECTION, 13
.set PROGRAM_TIMER, 8
.set PROGRAM_PRINT, 0x60
.set PROGRAM_SEGMENT, 0x2000                // where the program lies, at offset 100h
.set ENTRY, 0x100
.set MAP_SIZE, 0x20

// The monitor's stack, seen from EBP, behind the eight registers of PUSHAD
.set ERROR, 32
.set EIP, 36
.set CS_, 40
.set EFLAGS, 44
.set ESP_, 48
.set SS_, 52

    enter_kernel

    // The first MiB and 64 KiB are the program's, too.
    call    map_first_4_mib
    mov     edi, TABLE
    mov     ecx, 0x110
1:  or      dword ptr [edi], USER
    add     edi, 4
    loop    1b
    call    begin_paging

    set_gate TIMER, timer
    set_gate GENERAL_PROTECTION, general_protection
    set_tss TSS_A, tss, TSS_SIZE + MAP_SIZE + 1
    mov     dword ptr [tss + TSS_ESP0], STACK
    mov     dword ptr [tss + TSS_SS0], DATA0
    mov     word ptr [tss + TSS_MAP], TSS_SIZE
    mov     edi, offset tss + TSS_SIZE
    mov     ecx, MAP_SIZE + 1
    mov     al, 0xFF
    rep stosb
    and     byte ptr [tss + TSS_SIZE + DEBUG_CONSOLE / 8], ~(1 << (DEBUG_CONSOLE % 8))
    mov     ax, TSS_A
    ltr     ax

    mov     esi, offset program
    mov     edi, PROGRAM_SEGMENT * 16 + ENTRY
    mov     ecx, offset program_end - program
    rep movsb

    push    PROGRAM_SEGMENT + 3                 // GS
    push    PROGRAM_SEGMENT + 2                 // FS
    push    PROGRAM_SEGMENT + 1                 // DS
    push    PROGRAM_SEGMENT                     // ES
    push    PROGRAM_SEGMENT                     // SS
    push    0xFFFE
    push    EFLAGS_VM | EFLAGS_ONE | EFLAGS_IF
    push    PROGRAM_SEGMENT
    push    ENTRY
    iretd

timer:
    push    0                           // as an error code
    pushad
    mov     ebp, esp
    call    load_segments
    inc     byte ptr [ticks]
    mov     byte ptr [requested], 1
    call    offer_interrupt
    jmp     resume

general_protection:
    pushad
    mov     ebp, esp
    call    load_segments
    test    dword ptr [ebp + EFLAGS], EFLAGS_VM
    jz      broken
    cmp     dword ptr [ebp + ERROR], 0
    jne     broken
    call    fetch
    cmp     al, 0xFA
    je      emulate_cli
    cmp     al, 0xFB
    je      emulate_sti
    cmp     al, 0x9C
    je      emulate_pushf
    cmp     al, 0x9D
    je      emulate_popf
    cmp     al, 0xCD
    je      emulate_int
    cmp     al, 0xCF
    je      emulate_iret
    cmp     al, 0xE6
    je      emulate_out
    cmp     al, 0xF4
    je      emulate_hlt
    jmp     broken

emulate_cli:
    mov     byte ptr [interrupt_flag], 0
    jmp     resume
emulate_sti:
    mov     byte ptr [interrupt_flag], 1
    call    offer_interrupt
    jmp     resume
emulate_pushf:
    call    virtual_flags
    call    push_word
    jmp     resume
emulate_popf:
    call    pop_word
    call    set_virtual_flags
    jmp     resume
emulate_int:
    call    fetch
    movzx   ecx, al
    call    interrupt
    jmp     resume
emulate_iret:
    call    pop_word
    movzx   edx, ax
    call    pop_word
    mov     [ebp + CS_], ax
    mov     [ebp + EIP], edx
    call    pop_word
    call    set_virtual_flags
    jmp     resume
emulate_out:                            // of AL, to a port that the program does not have
    call    fetch
    say     "out "
    movzx   eax, al
    call    print_hex
    say     " "
    movzx   eax, byte ptr [ebp + 28]    // the program's AL
    call    print_hex
    say     "\n"
    jmp     resume
emulate_hlt:
    say     "hlt\n"
    leave_machine 0

resume:
    popad
    add     esp, 4
    iretd

broken:
    say     "broken\n"
    leave_machine 1

// The processor has cleared DS and ES on the way from virtual-8086 mode.
load_segments:
    mov     ax, ds
    test    ax, ax
    jnz     broken
    mov     ax, DATA0
    mov     ds, ax
    mov     es, ax
    ret

// AL = the byte at the program's CS:IP, which goes on.
fetch:
    movzx   esi, word ptr [ebp + CS_]
    shl     esi, 4
    add     esi, [ebp + EIP]
    mov     al, [esi]
    inc     word ptr [ebp + EIP]
    ret

// AX, on the program's stack.
push_word:
    sub     word ptr [ebp + ESP_], 2
    call    stack_top
    mov     [esi], ax
    ret
pop_word:
    call    stack_top
    mov     ax, [esi]
    add     word ptr [ebp + ESP_], 2
    ret
stack_top:
    movzx   esi, word ptr [ebp + SS_]
    shl     esi, 4
    movzx   edi, word ptr [ebp + ESP_]
    add     esi, edi
    ret

// AX = the flags as the program has them: its own IF, IOPL 3.
virtual_flags:
    mov     ax, [ebp + EFLAGS]
    and     ax, ~EFLAGS_IF
    or      ax, 0x3000
    cmp     byte ptr [interrupt_flag], 0
    je      1f
    or      ax, EFLAGS_IF
1:  ret
set_virtual_flags:
    mov     byte ptr [interrupt_flag], 0
    test    ax, EFLAGS_IF
    jz      1f
    mov     byte ptr [interrupt_flag], 1
1:  and     ax, 0x0CD5                  // status flags and DF
    or      ax, EFLAGS_ONE | EFLAGS_IF
    mov     [ebp + EFLAGS], ax
    jmp     offer_interrupt

// Through the program's vector ECX.
interrupt:
    call    virtual_flags
    call    push_word
    mov     ax, [ebp + CS_]
    call    push_word
    mov     ax, [ebp + EIP]
    call    push_word
    mov     byte ptr [interrupt_flag], 0
    movzx   eax, word ptr [ecx * 4]
    mov     [ebp + EIP], eax
    mov     ax, [ecx * 4 + 2]
    mov     [ebp + CS_], ax
    ret

// The timer's, if one is there and the program allows it.
offer_interrupt:
    cmp     byte ptr [interrupt_flag], 0
    je      1f
    cmp     byte ptr [requested], 0
    je      1f
    mov     byte ptr [requested], 0
    mov     ecx, PROGRAM_TIMER
    jmp     interrupt
1:  ret

.section .bss
.balign 8
tss:            .fill TSS_SIZE + MAP_SIZE + 1
interrupt_flag: .fill 1                 // the program's
requested:      .fill 1
ticks:          .fill 1                 // that have come; the program sees this byte, too

// ---------------------------------------------------------------------------------------------------
// The program. Its labels count from its begin.

#define AT(label) (label - program + ENTRY)

.section .text.program, "ax"
    .code16
program:
    mov     ax, gs                      // as the monitor has given them
    sub     ax, PROGRAM_SEGMENT + 3
    jnz     wrong
    mov     ax, cs
    mov     ds, ax
    xor     ax, ax
    mov     es, ax
    mov     word ptr es:[PROGRAM_PRINT * 4], AT(print_character)
    mov     es:[PROGRAM_PRINT * 4 + 2], cs
    mov     word ptr es:[PROGRAM_TIMER * 4], AT(tick)
    mov     es:[PROGRAM_TIMER * 4 + 2], cs

    mov     si, AT(greeting)
1:  lodsb
    test    al, al
    jz      2f
    int     PROGRAM_PRINT
    jmp     1b
2:
    // Above FFFF:FFFF there is memory: nothing wraps, as with A20 on.
    mov     ax, 0xFFFF
    mov     fs, ax
    mov     byte ptr fs:[0x0010], '+'
    mov     al, fs:[0x0010]
    int     PROGRAM_PRINT
    mov     al, es:[0x0000]             // the vector table is where it was
    cmp     al, '+'
    je      wrong

    // Interrupts are off for it, however many come.
    call    show_interrupt_flag
    mov     bl, [AT(ticked)]
    mov     bh, es:[ticks]
3:  mov     al, es:[ticks]
    sub     al, bh
    cmp     al, 2
    jb      3b
    cmp     bl, [AT(ticked)]
    jne     wrong

    // They come at once when it allows them: the one that waited, and more.
    sti
    call    show_interrupt_flag
4:  cmp     byte ptr [AT(ticked)], 3
    jb      4b
    cli
    call    show_interrupt_flag
    pushf
    pop     ax
    or      ax, EFLAGS_IF + 1           // IF and CF
    push    ax
    popf
    jnc     wrong
    call    show_interrupt_flag

    mov     al, 0x5A
    out     0x80, al
    hlt
wrong:
    mov     al, '!'
    out     DEBUG_CONSOLE, al
    ud2

show_interrupt_flag:                    // 0 or 1
    pushf
    pop     ax
    shr     ax, 9
    and     al, 1
    add     al, '0'
    int     PROGRAM_PRINT
    ret

print_character:
    out     DEBUG_CONSOLE, al           // this port the monitor leaves to the program
    iret

tick:
    inc     byte ptr cs:[AT(ticked)]
    iret

greeting: .asciz "from the program\n"
ticked:   .byte 0
program_end:
