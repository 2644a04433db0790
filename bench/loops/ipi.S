// An interrupt that the processor sends to itself through the local APIC, taken at once and ended by EOI, all at
// privilege level 0. ECX = interrupts; the result is EAX, those that the handler has had. Without paging: the
// APIC's page lies beyond the tables.

#include "protected.inc"
.set page_fault, 0
.set SVR, 0xFEE000F0                    // spurious-interrupt vector register (SDM vol. 3, 11.9)
.set ICR, 0xFEE00300                    // interrupt command register, low half (11.6.1)
.set EOI, 0xFEE000B0
.set SELF, 0x40000                      // destination shorthand
.code32
    begin_protection
    mov     dword ptr [SVR], 0x1FF      // APIC software-enabled
    xor     eax, eax
    sti
turn:
    mov     dword ptr [ICR], SELF + EVENT
    dec     ecx
    jnz     turn
    hlt
event:
    inc     eax
    mov     dword ptr [EOI], 0
    iretd
