"""Between real mode and 32-bit protected mode, as a boot loader goes (SDM vol. 3, 10.9)."""

from __future__ import annotations

from tests.support import CODE, CODE32, DATA, DATA32, GDT_LIMIT, flat32, real16, run, word32

GDT_IMAGE = """
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00009b010000ffff
    .quad 0x000093010000ffff
pointer:
    .word 39
    .long gdt + 0x10000
"""


def test_real_to_protected_mode() -> None:
    """LGDT, CR0.PE, far jump, data segments: then 32-bit code reaches all of memory."""
    vcpu = real16(
        f"""
            lgdt cs:[pointer]
            mov eax, cr0
            or eax, 1
            mov cr0, eax
            .byte 0x66, 0xea
            .long protected + 0x10000
            .word 8
            .code32
        protected:
            mov eax, 0x10
            mov ds, eax
            mov ss, eax
            mov esp, 0x9000
            mov dword ptr [{DATA}], 0xcafe
            push 0x1234
            pop ebx
            hlt
            {GDT_IMAGE}
        """
    )
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory) == 0xCAFE
    assert vcpu.ebx == 0x1234
    assert vcpu.cr0 & 1
    assert (vcpu.cs.selector, vcpu.ds.selector, vcpu.ss.selector) == (8, 0x10, 0x10)
    assert (vcpu.cs.base, vcpu.cs.limit) == (0, 0xFFFFFFFF)


def test_the_hidden_parts_stay_until_a_segment_is_loaded() -> None:
    """Right after CR0.PE, CS still has its real-mode base and 16-bit code."""
    vcpu = real16("mov eax, cr0; inc ax; mov cr0, eax; mov cx, 0x1234; hlt")
    vcpu.ecx = 0xFFFFFFFF
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.cs.limit) == (CODE >> 4, CODE, 0xFFFF)
    assert vcpu.ecx == 0xFFFF1234


def test_back_to_real_mode() -> None:
    """Through 16-bit segments, then CR0.PE off and a far jump (SDM vol. 3, 10.9.2)."""
    vcpu = flat32(
        f"""
        start:
            lgdt [pointer]
            .byte 0xea
            .long sixteen - start
            .word 0x18
            .code16
        sixteen:
            mov ax, 0x20
            mov ds, ax
            mov ss, ax
            mov eax, cr0
            and eax, ~1
            mov cr0, eax
            .byte 0xea
            .word real - start, 0x1000
        real:
            mov ax, 0x2000
            mov ds, ax
            mov word ptr [0x10], 0x5aa5
            hlt
            {GDT_IMAGE.replace("gdt + 0x10000", "gdt")}
        """
    )
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cr0 & 1 == 0
    assert (vcpu.cs.selector, vcpu.cs.base) == (0x1000, CODE)
    assert vcpu.memory.read(DATA + 0x10, 2) == b"\xa5\x5a"


def test_limit_kept_from_protected_mode_serves_real_mode() -> None:
    """A segment's limit survives the return: a selector only sets the base ("unreal mode")."""
    vcpu = real16("mov ds, ax; mov ebx, 0x12340; mov byte ptr [ebx], 0x77; hlt")
    vcpu.ds.limit, vcpu.eax = 0xFFFFFFFF, 0x1000
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(0x22340, 1) == b"\x77"


def test_lgdt_and_lidt_with_16_bit_operands_load_24_bits_of_base() -> None:
    vcpu = flat32(f".byte 0x66; lgdt [{DATA}]; lidt [{DATA}]; hlt")
    vcpu.memory.write(DATA, b"\x34\x12\x78\x56\x34\x12")
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.gdt_limit, vcpu.gdt_base) == (0x1234, 0x345678)
    assert (vcpu.idt_limit, vcpu.idt_base) == (0x1234, 0x12345678)


def test_segment_loads_read_the_gdt_as_it_is_now() -> None:
    """A descriptor changed in memory counts at the next load, not before."""
    vcpu = flat32("mov ecx, ds:[0]; mov ds, eax; mov edx, ds:[0]; hlt")
    vcpu.memory.write(DATA, b"\x11\x22\x33\x44")
    vcpu.memory.write(0x1010, b"\xff\xff\x00\x00\x02\x93\xcf\x00")
    vcpu.memory.write(0, b"\x01\0\0\0")
    vcpu.eax = DATA32
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.edx) == (1, 0x44332211)


def test_far_jump_to_16_bit_code_and_back() -> None:
    """The D bit of CS chooses the operand size, so the same bytes mean other instructions."""
    vcpu = flat32(
        f"""
            .byte 0xea; .long sixteen; .word 0x28
            .code16
        sixteen:
            mov ax, 0x5555
            .byte 0x66, 0xea; .long thirtytwo; .word {CODE32}
            .code32
        thirtytwo:
            mov ebx, 0x12345678
            hlt
        """
    )
    vcpu.memory.write(0x1000 + GDT_LIMIT - 7, b"\xff\xff\0\0\0\x9b\x8f\0")
    vcpu.eax = 0xFFFFFFFF
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.ebx) == (0xFFFF5555, 0x12345678)
