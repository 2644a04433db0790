"""The guests of the flood: random accesses without end, on every vCPU, with interrupts on.

What is random comes from a xorshift generator in the guest, so that a seed gives the same guest.
Interrupts of any vector, which random programming brings, are ended at all controllers.
"""

from __future__ import annotations

from vmm.asm import assemble

_FRAME = """
    #include "protected_mode.inc"
    .code16
    enter_protected_mode
    mov     eax, 1
    cpuid
    shr     ebx, 24                 // the initial APIC ID: each vCPU has a stack and a seed
    mov     ebp, ebx
    imul    ebp, ebp, 0x9E3779B1
    xor     ebp, {seed}
    or      ebp, 1
    shl     ebx, 10
    lea     esp, [ebx + 0x20000]

    mov     edi, 0x9000             // an IDT: each gate leads to `ignore`
    mov     eax, offset ignore
    and     eax, 0xFFFF
    or      eax, CODE32 << 16
    mov     ecx, 256
gates:
    mov     [edi], eax
    mov     dword ptr [edi + 4], 0x8E00
    add     edi, 8
    loop    gates
    lidt    [idt]
    mov     dword ptr ds:[0xFEE000F0], 0x1FF
    mov     esi, ebp

next:
    sti
    call    random
{body}
    jmp     next

// EAX, and EBP, the state.
random:
    mov     eax, ebp
    shl     eax, 13
    xor     ebp, eax
    mov     eax, ebp
    shr     eax, 17
    xor     ebp, eax
    mov     eax, ebp
    shl     eax, 5
    xor     ebp, eax
    mov     eax, ebp
    ret

// Access the port DX: by bits of ECX, reading or writing, with 1, 2 or 4 bytes.
access_port:
    test    ecx, 1
    jz      access_wide
    test    ecx, 2
    jz      read_byte
    out     dx, al
    ret
read_byte:
    in      al, dx
    ret
access_wide:
    test    ecx, 4
    jz      access_32
    test    ecx, 2
    jz      read_16
    out     dx, ax
    ret
read_16:
    in      ax, dx
    ret
access_32:
    test    ecx, 2
    jz      read_32
    out     dx, eax
    ret
read_32:
    in      eax, dx
    ret

// CF: an access of 4 bytes at DX might end the machine, by the exit port or a reset.
might_end:
    cmp     dx, 0xF1
    jb      below_exit
    cmp     dx, 0xF5
    ret
below_exit:
    cmp     dx, 0x8F
    jb      below_92
    cmp     dx, 0x93
    ret
below_92:
    cmp     dx, 0x5D
    jb      harmless
    cmp     dx, 0x65
    ret
harmless:
    clc
    ret

ignore:
    push    eax
    mov     al, 0x20
    out     0xA0, al
    out     0x20, al
    mov     dword ptr ds:[0xFEE000B0], 0
    pop     eax
    and     dword ptr [esp + 8], ~0x200     // interrupts off until `next`: they do not starve it
    iretd

    .balign 4
idt:
    .word   0x7FF
    .long   0x9000
taken:
    .word   0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71
    .word   0x3F8, 0x3F9, 0x3FA, 0x3FB, 0x3FC, 0x3FD, 0x3FE, 0x3FF
    .set    TAKEN, (. - taken) / 2
"""

#: What each guest does with a random EAX, again and again.
BODIES = {
    # Every port in turn, from a random one on.
    "ports": """
    mov     ecx, eax
    inc     esi
    mov     edx, esi
    call    might_end
    jc      next
    call    random
    call    access_port
    """,
    # Those of the devices: values that nobody would write, in no order.
    "devices": """
    mov     ecx, eax
    or      ecx, 1
    shr     eax, 8
    xor     edx, edx
    mov     ebx, offset TAKEN
    div     ebx
    movzx   edx, word ptr [taken + edx * 2]
    call    random
    call    access_port
    """,
    # Every page outside RAM in turn, from a random one on, at a random offset.
    "memory": """
    mov     ecx, eax
    and     eax, 0xFFF
    add     esi, 0x1000
    and     esi, 0xFFFFF000
    cmp     esi, 0x100000
    jb      next
    lea     ebx, [esi + eax]
    call    random
    test    ecx, 0x1000
    jz      load
    test    ecx, 0x2000
    jz      store_byte
    mov     [ebx], eax
    jmp     next
store_byte:
    mov     [ebx], al
    jmp     next
load:
    mov     eax, [ebx]
    """,
    # The pages of local APIC and I/O APIC.
    "apics": """
    mov     ebx, eax
    and     ebx, 0x3F0
    or      ebx, 0xFEE00000
    test    eax, 0x80000000
    jz      apic
    mov     dword ptr ds:[0xFEC00000], eax
    and     dword ptr ds:[0xFEC00000], 0x3F
    mov     ebx, 0xFEC00010
apic:
    call    random
    test    ebp, 0x300
    jnz     store                   // most of them with a delivery mode that does not stop a vCPU
    and     eax, 0xFFFFF8FF
store:
    mov     [ebx], eax
    cmp     bl, 0xF0
    jne     next
    mov     dword ptr ds:[0xFEE000F0], 0x1FF
    """,
    # Nothing but exits, of all kinds that idle guests and consoles make.
    "exits": """
    out     0xE9, al
    mov     dx, 0x3F8
    out     dx, al
    in      al, 0x80
    mov     eax, 0x30000
    xor     ecx, ecx
    xor     edx, edx
    monitor
    mov     [eax], ebp              // its own store: where MWAIT would wait it goes on
    mwait
    mov     eax, ds:[0xD0000000]
    """,
    # The ways out.
    "ends": """
    test    eax, 0x30
    jz      by_exit_port
    test    eax, 0x10
    jz      by_port_92
    mov     al, 0xFE
    out     0x64, al
by_port_92:
    mov     al, 1
    out     0x92, al
by_exit_port:
    out     0xF4, al
    """,
}


def image(name: str, seed: int) -> bytes:
    """The guest of that name, to be loaded and started at 7C00h in real mode."""
    return assemble(_FRAME.format(seed=seed & 0xFFFF_FFFF, body=BODIES[name]))
