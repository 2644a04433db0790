// The stack overflows into a page that is not there. The page fault cannot be delivered on that stack, and a double
// fault follows: through a task gate to a task with a stack of its own, which finds the state of the first one in
// its TSS, mends it, and returns to it by IRET. Through an interrupt gate it would be a triple fault.

#include "kernel.inc"

.set DOUBLE_FAULT, 8
.set PAGE_FAULT, 14
.set SMALL_STACK, 0x10000           // one page, up to here; that below it is not present
.set STACK_B, 0x7000

    enter_kernel
    call    map_first_4_mib
    mov     dword ptr [TABLE + ((SMALL_STACK >> 12) - 2) * 4], 0
    call    begin_paging
    set_gate PAGE_FAULT, page_fault
    set_tss TSS_A, tss_a
    mov     dword ptr [tss_a + TSS_CR3], DIRECTORY
    set_tss TSS_B, tss_b
    mov     dword ptr [tss_b + TSS_CR3], DIRECTORY
    mov     dword ptr [tss_b + TSS_EIP], offset double_fault
    mov     dword ptr [tss_b + TSS_EFLAGS], EFLAGS_ONE
    mov     dword ptr [tss_b + TSS_ESP], STACK_B
    mov     dword ptr [tss_b + TSS_ES], DATA0
    mov     dword ptr [tss_b + TSS_CS], CODE0
    mov     dword ptr [tss_b + TSS_SS], DATA0
    mov     dword ptr [tss_b + TSS_DS], DATA0
    mov     ax, TSS_A
    ltr     ax
    set_task_gate DOUBLE_FAULT, TSS_B

    // A page fault on a good stack is one.
    mov     eax, 0x400000
    mov     ebx, offset 1f
    mov     [eax], eax
1:
    mov     ecx, 2
again:                                  // the second time the task of the double fault goes on behind its IRET
    mov     esp, SMALL_STACK
    mov     ebx, 0
overflow:
    inc     ebx
pushing:
    push    ebx
    jmp     overflow
overflowed:
    mov     eax, ebx
    call    print_hex                   // how many pushes it took
    say     "\n"
    loop    again
    leave_machine 0

page_fault:
    say     "#PF "
    pop     eax
    call    print_hex
    say     "\n"
    mov     [esp], ebx
    iretd

double_fault:
    pop     eax                         // the error code
    say     "#DF "
    call    print_hex
    mov     eax, cr2
    say     " "
    call    print_hex
    cmp     dword ptr [tss_a + TSS_EIP], offset pushing
    jne     broken
    cmp     dword ptr [tss_a + TSS_ESP], SMALL_STACK - 0x1000
    jne     broken
    cmp     word ptr [tss_b + TSS_LINK], TSS_A
    jne     broken
    say     " "
    mov     dword ptr [tss_a + TSS_EIP], offset overflowed
    mov     dword ptr [tss_a + TSS_ESP], SMALL_STACK
    iretd
    jmp     double_fault

broken:
    say     "broken\n"
    leave_machine 1

.section .bss
.balign 8
tss_a:      .fill TSS_SIZE
tss_b:      .fill TSS_SIZE
