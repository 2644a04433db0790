// A task of ring 3 under a kernel of ring 0: interrupts reach the kernel on its own stack, ports and memory
// are those that the kernel allows, and what the task may not do is a fault that the kernel sees.

#include "kernel.inc"

.set SYSTEM_CALL, 0x80
.set TIMER, 0x20                    // the machine's tick
.set GENERAL_PROTECTION, 13
.set PAGE_FAULT, 14
.set MAP_SIZE, 0x20                 // of the I/O permission map: ports 0 to FFh

    enter_kernel

    // All memory is the kernel's but the task's two pages; that of its code cannot be written.
    call    map_first_4_mib
    mov     ebx, offset task
    shr     ebx, 12
    mov     eax, offset task
    or      eax, PRESENT | USER
    mov     [TABLE + ebx * 4], eax
    or      dword ptr [TABLE + ebx * 4 + 4], USER
    call    begin_paging

    set_gate TIMER, timer
    set_gate SYSTEM_CALL, system_call, INTERRUPT_GATE3
    set_gate GENERAL_PROTECTION, general_protection
    set_gate PAGE_FAULT, page_fault

    // Of the ports the task has the debug console. The byte behind the map is all ones.
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

    mov     ax, DATA3                   // IRET would take DATA0 away
    mov     ds, ax
    mov     es, ax
    push    DATA3
    push    offset task_stack
    push    EFLAGS_IF | EFLAGS_ONE
    push    CODE3
    push    offset task
    iretd

timer:
    push    eax
    cmp     word ptr [esp + 8], CODE3   // it was the task that was interrupted,
    jne     broken
    cmp     esp, STACK - 6 * 4          // and its SS, ESP, EFLAGS, CS and EIP are all that is on this stack
    jne     broken
    cmp     dword ptr [esp + 16], offset task_stack
    jne     broken
    inc     dword ptr [ticks]
    say     "tick\n"
    pop     eax
    iretd

general_protection:
    say     "#GP "
    jmp     skip
page_fault:
    mov     eax, cr2
    cmp     eax, esi                    // where the task has announced it
    jne     broken
    say     "#PF "
skip:                                   // the task goes on at EBX
    pop     eax
    call    print_hex
    say     "\n"
    mov     [esp], ebx
    iretd

system_call:                            // the only one: the end
    out     EXIT_PORT, al

broken:
    say     "broken\n"
    leave_machine 1

// An instruction that the task may not execute.
.macro attempt instruction:vararg
    mov     ebx, offset behind_\@
    \instruction
    mov     al, '!'                     // never reached
    out     DEBUG_CONSOLE, al
behind_\@:
.endm

.section .text.task, "ax"
.balign 4096
task:
    mov     al, '>'
    out     DEBUG_CONSOLE, al
wait:
    cmp     dword ptr [ticks], 3
    jb      wait
    attempt cli
    attempt hlt
    attempt out 0x80, al
    attempt mov eax, cr0
    attempt int TIMER                   // its gate is not for ring 3
    mov     eax, DATA0
    attempt mov ds, ax
    mov     esi, IDT
    attempt mov eax, [esi]
    attempt mov [esi], eax
    mov     esi, offset task
    attempt mov [esi], eax
    mov     esi, 0x400000               // not mapped
    attempt mov eax, [esi]
    attempt jmp esi
    mov     al, 7
    int     SYSTEM_CALL

.balign 4096
ticks:
    .long   0
    .fill   4092
task_stack:

.section .bss
.balign 8
tss:
    .fill   TSS_SIZE + MAP_SIZE + 1
