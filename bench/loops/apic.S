// Stores EAX to the local APIC's register ESI over and over. EBP = turns.
// With EBX = 1 interrupts are on, and the handler of vector 0x41 ends each of them.
// EDX is what the upper half of the interrupt command register gets: the target.

.intel_syntax noprefix
.code32
.set APIC, 0xFEE00000
.set END_OF_INTERRUPT, APIC + 0xB0
.set SPURIOUS_VECTOR, APIC + 0xF0
.set COMMAND_HIGH, APIC + 0x310
.set DIVIDE, APIC + 0x3E0

    lgdt    [gdt_register]
    lidt    [idt_register]
    jmp     8:reload                   // the interrupt comes back through a selector of this table
reload:
    mov     dword ptr [SPURIOUS_VECTOR], 0x1FF
    mov     dword ptr [DIVIDE], 0xB     // the timer counts nanoseconds
    mov     dword ptr [COMMAND_HIGH], edx
    mov     dword ptr [END_OF_INTERRUPT], 0     // of a run before
    test    ebx, ebx
    jz      turn
    sti
turn:
    mov     dword ptr [esi], eax
    dec     ebp
    jnz     turn
    cli
    hlt

handler:
    mov     dword ptr [END_OF_INTERRUPT], 0
    iretd

    .balign 8
gdt:
    .quad   0
    .quad   0x00CF9B000000FFFF          // 8: flat code
idt:
    .fill   0x41, 8, 0
    .word   handler, 8, 0x8E00, 0       // the handler lies below 64 KiB
idt_end:
gdt_register:
    .word   idt - gdt - 1
    .long   gdt
idt_register:
    .word   idt_end - idt - 1
    .long   idt
