// Tasks that the processor switches: through a task gate by INT from ring 3, back by IRET, by a far CALL to a TSS and
// a far JMP to one. Each task has its own page directory and LDT, and sees another page at the same address.

#include "kernel.inc"

.set ASK, 0x30                      // vector of the task gate
.set LEAVE, 0x31
.set HERE, 0x400000                 // where each task has a page of its own
.set DIRECTORY_B, 0x5000
.set TABLE_A, 0x4000                // page tables for HERE
.set TABLE_B, 0x6000
.set PAGE_A, 0x100000
.set PAGE_B, 0x101000
.set STACK_B, 0x7000
.set IN_LDT, 4                      // in selectors: the first descriptor of the LDT

// A descriptor of an LDT with one entry. EDX is lost.
.macro set_ldt selector, ldt
    mov     edx, offset \ldt
    mov     word ptr [gdt + \selector], 7
    mov     word ptr [gdt + \selector + 2], dx
    shr     edx, 16
    mov     byte ptr [gdt + \selector + 4], dl
    mov     word ptr [gdt + \selector + 5], 0x0082
    mov     byte ptr [gdt + \selector + 7], dh
.endm

    enter_kernel
    call    map_first_4_mib
    mov     edi, TABLE + 7 * 4          // the image is task A's as well, and so are the pages behind it
    mov     ecx, 9
1:  or      dword ptr [edi], USER
    add     edi, 4
    loop    1b
    mov     dword ptr [DIRECTORY + 4], TABLE_A + (PRESENT | WRITABLE | USER)
    mov     dword ptr [TABLE_A], PAGE_A + (PRESENT | WRITABLE | USER)
    mov     dword ptr [DIRECTORY_B], TABLE + (PRESENT | WRITABLE | USER)
    mov     dword ptr [DIRECTORY_B + 4], TABLE_B + (PRESENT | WRITABLE | USER)
    mov     dword ptr [TABLE_B], PAGE_B + (PRESENT | WRITABLE | USER)
    mov     byte ptr [PAGE_A], 'a'
    mov     byte ptr [PAGE_B], 'b'
    mov     byte ptr [0x108000], '1'
    mov     byte ptr [0x108010], '2'
    or      dword ptr [TABLE + 0x108 * 4], USER
    call    begin_paging

    set_ldt LDT_A, ldt_a
    set_ldt LDT_B, ldt_b
    set_tss TSS_A, tss_a
    mov     dword ptr [tss_a + TSS_ESP0], STACK
    mov     dword ptr [tss_a + TSS_SS0], DATA0
    mov     word ptr [tss_a + TSS_LDT], LDT_A
    mov     dword ptr [tss_a + TSS_CR3], DIRECTORY
    set_tss TSS_B, tss_b
    mov     dword ptr [tss_b + TSS_CR3], DIRECTORY_B
    mov     dword ptr [tss_b + TSS_EIP], offset task_b
    mov     dword ptr [tss_b + TSS_EFLAGS], EFLAGS_ONE
    mov     dword ptr [tss_b + TSS_ESP], STACK_B
    mov     dword ptr [tss_b + TSS_ES], IN_LDT
    mov     dword ptr [tss_b + TSS_CS], CODE0
    mov     dword ptr [tss_b + TSS_SS], DATA0
    mov     dword ptr [tss_b + TSS_DS], DATA0
    mov     word ptr [tss_b + TSS_LDT], LDT_B
    mov     ax, LDT_A
    lldt    ax
    mov     ax, TSS_A
    ltr     ax
    set_task_gate ASK, TSS_B, TASK_GATE3
    set_gate LEAVE, leave, INTERRUPT_GATE3

    // Ring 3 may print: IOPL 3.
    mov     ax, DATA3
    mov     ds, ax
    mov     ax, IN_LDT + 3
    mov     es, ax
    push    DATA3
    push    0x10000
    push    0x3000 | EFLAGS_ONE
    push    CODE3
    push    offset task_a
    iretd

task_a:
    mov     ebx, 0x11111111
    mov     al, [HERE]
    out     DEBUG_CONSOLE, al           // a
    mov     al, es:[0]
    out     DEBUG_CONSOLE, al           // 1: the LDT's segment
    int     ASK
    mov     al, [HERE]
    out     DEBUG_CONSOLE, al           // a again
    mov     al, es:[0]
    out     DEBUG_CONSOLE, al
    cmp     ebx, 0x11111111             // nothing of the other task is left in registers
    jne     broken
    pushfd
    pop     eax
    test    eax, EFLAGS_NT
    jnz     broken
    int     ASK                         // it goes on behind its IRET
    mov     al, '/'
    out     DEBUG_CONSOLE, al
    int     LEAVE

// Task B, ring 0.
task_b:
    call    show_b
    mov     ebx, 0x22222222
    cmp     word ptr [tss_b + TSS_LINK], TSS_A
    jne     broken
    pushfd
    pop     eax
    test    eax, EFLAGS_NT
    jz      broken
    str     ax
    cmp     ax, TSS_B
    jne     broken
    test    byte ptr [gdt + TSS_A + 5], 2   // both are busy
    jz      broken
    test    byte ptr [gdt + TSS_B + 5], 2
    jz      broken
    mov     eax, cr3
    cmp     eax, DIRECTORY_B
    jne     broken
    mov     eax, cr0
    test    al, 8                       // TS
    jz      broken
    clts
    iretd                               // to the task that has asked
    call    show_b                      // and it comes back here
    cmp     ebx, 0x22222222
    jne     broken
    iretd
    // By CALL, and then by JMP
    call    show_b
    cmp     word ptr [tss_b + TSS_LINK], TSS_A
    jne     broken
    iretd
    call    show_b
    pushfd
    pop     eax
    test    eax, EFLAGS_NT              // nobody waits for it
    jnz     broken
    test    byte ptr [gdt + TSS_A + 5], 2
    jnz     broken
    ljmp    TSS_A, 0

show_b:
    mov     al, [HERE]
    out     DEBUG_CONSOLE, al           // b
    mov     al, es:[0]
    out     DEBUG_CONSOLE, al           // 2
    ret

// Of the first task, in ring 0 once more.
leave:
    mov     ax, DATA0
    mov     ds, ax
    lcall   TSS_B, 0
    mov     al, '/'
    out     DEBUG_CONSOLE, al
    ljmp    TSS_B, 0
    mov     al, [HERE]
    out     DEBUG_CONSOLE, al           // a
    say     "\n"
    leave_machine 0

broken:
    mov     al, '!'
    out     DEBUG_CONSOLE, al
    leave_machine 1

.section .data
.balign 8
ldt_a:      .quad 0x0040F2108000000F    // 16 bytes of data at 108000h, DPL 3
ldt_b:      .quad 0x0040F2108010000F    // and at 108010h
.section .bss
.balign 8
tss_a:      .fill TSS_SIZE
tss_b:      .fill TSS_SIZE
