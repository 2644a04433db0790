"""Interrupts and exceptions in real mode, through the vector table (SDM vol. 3, 21.1.4)."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.support import CODE, DE, FLAG_IF, FLAG_TF, GP, SS, UD, Event, delivered, real16, run

CS = CODE >> 4


@pytest.mark.parametrize("vector", [0x10, 0x21, 0x80, 0xFF])
def test_software_interrupt(vector: int) -> None:
    """Pushes FLAGS, CS and the IP of the next instruction; enters with IF and TF clear."""
    vcpu = real16(f"int {vector}")
    top = vcpu.esp
    vcpu.eflags = 0x2 | FLAG_IF | 1
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, 2, cs=CS)
    assert vcpu.esp == top - 6
    assert struct.unpack("<3H", vcpu.memory.read(vcpu.esp, 6))[2] == 0x2 | FLAG_IF | 1
    assert vcpu.eflags & (FLAG_IF | FLAG_TF) == 0
    assert vcpu.eflags & 1 == 1


def test_iret_takes_back_flags_and_address() -> None:
    vcpu = real16("int 0x60; hlt; handler: clc; cld; iret")
    vcpu.memory.write(0x60 * 4, struct.pack("<HH", 3, CS))
    vcpu.eflags = 0x2 | FLAG_IF | 1 << 10 | 1
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == 3
    assert vcpu.eflags == 0x2 | FLAG_IF | 1 << 10 | 1


def test_int3_is_one_byte() -> None:
    vcpu = real16("int3")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(3, 1, cs=CS)


@pytest.mark.parametrize(
    ("source", "vector"),
    [
        ("div cl", DE),
        ("ud2", UD),
        ("mov ax, [bx]", GP),  # a word at FFFFh
        ("mov [bx], ax", GP),
        ("mov eax, [bx-1]", GP),  # a doubleword at FFFEh
        ("mov ax, ss:[bx]", SS),
        ("mov al, [ecx+0x10000]", GP),  # a 32-bit address beyond 64 KiB
        (".byte 0xf0, 0x90", UD),
    ],
)
def test_exceptions_push_no_error_code(source: str, vector: int) -> None:
    vcpu = real16(source)
    vcpu.ebx, vcpu.ecx, vcpu.eax = 0xFFFF, 0, 0x1234
    top = vcpu.esp
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, 0, cs=CS)
    assert vcpu.esp == top - 6
    assert vcpu.eax == 0x1234


def test_16_bit_addresses_wrap_at_64_kib() -> None:
    vcpu = real16("mov al, [bx+si+2]; hlt")
    vcpu.ebx, vcpu.esi = 0xFFF0, 0x000E + 0x7000
    vcpu.memory.write(0x7000, b"\x5a")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax & 0xFF == 0x5A


def test_external_interrupt() -> None:
    vcpu = real16("sti; nop; nop; hlt")
    vcpu.interrupt(0x08)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(8, 2, cs=CS)


def test_table_moved_by_lidt() -> None:
    vcpu = real16("lidt [table]; int 2; .balign 8; table: .word 0x3ff; .long 0x5000")
    vcpu.ds.selector, vcpu.ds.base = CS, CODE
    vcpu.memory.write(0x5008, struct.pack("<HH", 0x42, 0x300))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x42, 7, cs=CS)
    assert (vcpu.idt_base, vcpu.idt_limit) == (0x5000, 0x3FF)


def test_vector_beyond_the_table_is_a_general_protection_fault() -> None:
    vcpu = real16("int 0x20")
    vcpu.idt_limit = 0x20 * 4 + 2
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 0, cs=CS)


def test_table_too_short_for_any_handler_shuts_down() -> None:
    vcpu = real16("int 0x20")
    vcpu.idt_limit = 0
    assert run(vcpu) == "EXIT_SHUTDOWN"


def test_push_with_a_stack_of_one_byte_shuts_down() -> None:
    """SDM vol. 2, PUSH: with SP = 1 in real mode there is no room for the fault either."""
    vcpu = real16("push ax")
    vcpu.esp = 1
    assert run(vcpu) == "EXIT_SHUTDOWN"


def test_stack_wraps_from_0_to_the_top_of_its_segment() -> None:
    vcpu = real16("push ax; hlt")
    vcpu.esp, vcpu.eax = 0xABCD0000, 0x1234
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.esp == 0xABCDFFFE
    assert vcpu.memory.read(0xFFFE, 2) == b"\x34\x12"


def test_nested_interrupts_return_in_order() -> None:
    vcpu = real16("int 0x60; hlt; first: inc bx; int 0x61; inc bx; iret; second: shl bx, 4; iret")
    vcpu.memory.write(0x60 * 4, struct.pack("<HH", 3, CS))
    vcpu.memory.write(0x61 * 4, struct.pack("<HH", 8, CS))
    vcpu.ebx = 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 0x11


def test_far_call_and_return_through_segments() -> None:
    vcpu = real16(".byte 0x9a; .word 0x10, 0x1800; hlt")
    vcpu.memory.write(0x18010, b"\x8c\xc8\xcb")  # MOV AX, CS; RETF
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.cs.selector) == (6, CS)
    assert vcpu.eax & 0xFFFF == 0x1800


def test_segment_base_is_16_times_the_selector() -> None:
    """Also for selectors that would name no descriptor, and beyond the first megabyte."""
    vcpu = real16("mov ds, ax; mov byte ptr [0x20], 1; hlt")
    vcpu.eax = 0xFFFF
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == 0xFFFF0 + 0x20
    assert vcpu.ds.base == 0xFFFF0
    assert vcpu.run() == x86.EXIT_HLT
