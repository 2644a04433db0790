// Several processors with paging: the bootstrap processor starts the others by INIT and start-up IPI; each goes from
// real mode straight into paged protected mode, to code that lies high in linear memory, and reports. The bootstrap
// processor waits for that in MWAIT, at another linear address of the same line than the one that they store to.

#include "kernel.inc"

.set HIGH, 0xC0000000               // where the first 4 MiB are seen once more
.set APICS, 0xFEC00000              // a page of 4 MiB
.set START_PAGE, 0x8                // of the trampoline
.set ARRIVED, 0x9000                // how many have; a line of its own
.set RELEASED, 0x9040               // what they wait for
.set FINISHED, 0x9080
.set STACKS, 0x100000               // a page each, upwards from the one of number 0

#define APIC_ID         dword ptr ds:[0xFEE00020]
#define ICR             dword ptr ds:[0xFEE00300]
.set ICR_INIT, 0xC4500              // to all but this one
.set ICR_STARTUP, 0xC4600

    .code16
    jmp     boot

// ---------------------------------------------------------------------------------------------------
// A copy of this begins at page START_PAGE, in real mode.
trampoline:
    cli
    mov     ax, cs
    mov     ds, ax
    lgdt    [gdt_high - trampoline]
    mov     eax, CR4_PSE
    mov     cr4, eax
    mov     eax, DIRECTORY
    mov     cr3, eax
    mov     eax, CR0_PE | CR0_PG | CR0_WP
    mov     cr0, eax                    // this page is mapped to itself
    .byte   0x66, 0xEA                  // JMP to 32-bit code, high
    .long   arrived + HIGH
    .word   CODE0
gdt_high:
    .word   23
    .long   gdt                         // LGDT takes 24 bits of it here: it lies in the first MiB
trampoline_end:

    .code32
arrived:
    mov     ax, DATA0
    mov     ds, ax
    mov     es, ax
    mov     ss, ax
    mov     eax, APIC_ID
    shr     eax, 24
    mov     ebp, eax
    shl     eax, 12
    lea     esp, [eax + HIGH + STACKS + 0x1000]
    push    ebp
    call    wait_for_release
    pop     eax
    lock add dword ptr [HIGH + FINISHED], eax
1:  cli
    hlt
    jmp     1b

wait_for_release:
    lock inc dword ptr [HIGH + ARRIVED]
1:  mov     eax, HIGH + RELEASED
    xor     ecx, ecx
    xor     edx, edx
    monitor
    cmp     dword ptr [HIGH + RELEASED], 0
    jne     2f
    mwait
    jmp     1b
2:  ret

// ---------------------------------------------------------------------------------------------------

boot:
    enter_kernel
    call    map_first_4_mib
    mov     dword ptr [DIRECTORY + (HIGH >> 22) * 4], TABLE + (PRESENT | WRITABLE)
    mov     dword ptr [DIRECTORY + (APICS >> 22) * 4], APICS + (PRESENT | WRITABLE | LARGE)
    mov     eax, CR4_PSE
    mov     cr4, eax
    call    begin_paging
    mov     esi, offset trampoline
    mov     edi, START_PAGE << 12
    mov     ecx, offset trampoline_end - trampoline
    rep movsb
    mov     ICR, ICR_INIT
    mov     ICR, ICR_STARTUP + START_PAGE
    mov     ICR, ICR_STARTUP + START_PAGE   // ignored by those that run

    mov     ebx, ARRIVED
    mov     edi, 3
    call    wait_for
    say     "arrived "
    call    print_hex
    mov     dword ptr [RELEASED], 1     // by its low address: they watch the high one
    mov     ebx, FINISHED
    mov     edi, 1 + 2 + 3
    call    wait_for
    say     " finished "
    call    print_hex
    say     "\n"
    leave_machine 0

// Until the doubleword at EBX is EDI, which comes back in EAX.
wait_for:
    mov     eax, ebx
    xor     ecx, ecx
    xor     edx, edx
    monitor
    mov     eax, [ebx]
    cmp     eax, edi
    je      1f
    mwait
    jmp     wait_for
1:  ret
