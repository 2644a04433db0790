"""ENTER with its nesting levels, and LEAVE (SDM vol. 2, and vol. 1, 6.6)."""

from __future__ import annotations

import struct

import pytest

from tests.isa.faults import expect_fault, small
from tests.support import CODE, SS, Event, flat32, real16, run

TOP, OUTER = 0x8800, 0x9000
#: The frame pointers of enclosing procedures, as they stand below the outer frame pointer.
DISPLAY = [0x01020304 * n for n in range(1, 32)]


def entered(level: int, size: int) -> tuple[int, int, list[int]]:
    """EBP and ESP after ENTER, and what was pushed, first to last."""
    vcpu = flat32(f"enter {size}, {level}; hlt")
    vcpu.esp, vcpu.ebp = TOP, OUTER
    for depth, value in enumerate(DISPLAY, 1):
        vcpu.memory.write(OUTER - 4 * depth, value.to_bytes(4, "little"))
    assert run(vcpu) == "EXIT_HLT"
    pushed = 1 + level % 32
    words = struct.unpack(f"<{pushed}I", vcpu.memory.read(TOP - 4 * pushed, 4 * pushed))
    return vcpu.ebp, vcpu.esp, list(words[::-1])


@pytest.mark.parametrize("size", [0, 4, 0x100, 0x7FFF])
@pytest.mark.parametrize("level", [0, 1, 2, 3, 31, 32, 33, 0x3F, 0xFF])
def test_enter(level: int, size: int) -> None:
    """EBP; the frame pointers of the levels between; its own frame pointer. Modulo 32."""
    ebp, esp, pushed = entered(level, size)
    levels = level % 32
    assert pushed == [OUTER, *DISPLAY[: max(levels - 1, 0)], *([TOP - 4] if levels else [])]
    assert ebp == TOP - 4
    assert esp == TOP - 4 * (1 + levels) - size


def test_leave_undoes_enter() -> None:
    vcpu = flat32("enter 0x40, 5; leave; hlt")
    vcpu.esp, vcpu.ebp = TOP, OUTER
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.esp, vcpu.ebp) == (TOP, OUTER)


def test_16_bit_operands_on_a_32_bit_stack() -> None:
    vcpu = flat32(".byte 0x66; enter 2, 2; hlt")
    vcpu.esp, vcpu.ebp = TOP, OUTER
    vcpu.memory.write(OUTER - 2, b"\x34\x12")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.esp == TOP - 6 - 2
    assert vcpu.ebp == TOP - 2
    assert struct.unpack("<3H", vcpu.memory.read(TOP - 6, 6)) == (TOP - 2, 0x1234, OUTER)


def test_16_bit_stack_wraps() -> None:
    vcpu = real16("enter 4, 2; hlt")
    vcpu.esp, vcpu.ebp = 0xABCD0002, 0x12340002
    vcpu.ss.selector, vcpu.ss.base = 0x2000, 0x20000
    vcpu.memory.write(0x20000, b"\x34\x12\x78\x56")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.esp == 0xABCDFFF8
    assert vcpu.ebp == 0x12340000
    # BP at offset 0; the word below the old BP, which that has just overwritten; the frame.
    assert vcpu.memory.read(0x20000, 2) == b"\x02\x00"
    assert struct.unpack("<2H", vcpu.memory.read(0x2FFFC, 4)) == (0, 2)


def test_32_bit_operands_on_a_16_bit_stack() -> None:
    """EBP becomes all of ESP, as it is after the push."""
    vcpu = real16("data32 enter 4, 1; hlt")
    vcpu.esp, vcpu.ebp = 0xABCD8000, 0x12345678
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ebp, vcpu.esp) == (0xABCD7FFC, 0xABCD7FF4)
    assert vcpu.memory.read(0x7FF8, 8) == struct.pack("<2I", 0xABCD7FFC, 0x12345678)


def test_leave_with_a_16_bit_stack_keeps_the_upper_half_of_esp() -> None:
    vcpu = real16("leave; hlt")
    vcpu.esp, vcpu.ebp = 0xABCD1000, 0x12348000
    vcpu.memory.write(0x8000, b"\x56\x78")
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.esp, vcpu.ebp) == (0xABCD8002, 0x12347856)


@pytest.mark.parametrize(
    ("source", "ebp"),
    [
        ("enter 0, 3", 0x1004),  # the read of a level
        ("leave", 0xFFD),
    ],
)
def test_a_frame_pointer_beyond_the_stack(source: str, ebp: int) -> None:
    vcpu = flat32(source)
    small(vcpu.ss)
    expect_fault(vcpu, Event(SS, CODE, 0), esp=0x800, ebp=ebp)


@pytest.mark.parametrize(("source", "esp"), [("enter 0, 0", 0), ("enter 0, 1", 4)])
def test_no_room_for_a_push(source: str, esp: int) -> None:
    """Nor for the fault that follows; the registers stay as they were."""
    vcpu = flat32(source)
    small(vcpu.ss)
    vcpu.esp, vcpu.ebp = esp, 0x100
    assert run(vcpu) == "EXIT_SHUTDOWN"
    assert (vcpu.esp, vcpu.ebp, vcpu.eip) == (esp, 0x100, CODE)
