"""REP is interruptible between its elements, and restartable (SDM vol. 2, REP).

Memory-mapped I/O makes it exact: an exit per element, at which an interrupt or a limit can come in.
"""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import CODE, DATA, FLAG_IF, Event, delivered, flat32, run

DEVICE = 0x200000


def test_interrupt_between_elements() -> None:
    """The registers stand between two elements and EIP at the REP; IRET continues it."""
    vcpu = flat32("rep movsb; hlt")
    vcpu.memory.write(0x3040, b"\xcf")  # the handler is IRET
    vcpu.memory.write(DATA, b"abcd")
    vcpu.esi, vcpu.edi, vcpu.ecx = DATA, DEVICE, 4
    vcpu.eflags |= FLAG_IF
    written = []
    while run(vcpu) == "EXIT_MMIO":
        written.append((vcpu.mmio_address - DEVICE, vcpu.mmio_data))
        if len(written) == 2:
            vcpu.interrupt(0x40)
    assert written == list(enumerate(b"abcd"))
    assert vcpu.eip == CODE + 3
    assert (vcpu.esi, vcpu.edi, vcpu.ecx) == (DATA + 4, DEVICE + 4, 0)
    assert vcpu.stats["irq_injections"] == 1
    frame_eip = vcpu.memory.read(vcpu.esp - 12, 4)
    assert int.from_bytes(frame_eip, "little") == CODE


def test_the_handler_finds_the_registers_between_two_elements() -> None:
    vcpu = flat32("rep stosw; hlt")
    vcpu.edi, vcpu.ecx, vcpu.eax = DEVICE, 10, 0x1234
    vcpu.eflags |= FLAG_IF
    assert [run(vcpu) for _ in range(3)] == ["EXIT_MMIO"] * 3
    vcpu.interrupt(0x40)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE)
    assert (vcpu.edi, vcpu.ecx) == (DEVICE + 6, 7)


@pytest.mark.parametrize(
    ("source", "count", "left", "zero"),
    [
        ("repe cmpsb", 8, 4, False),  # differs in the fourth byte
        ("repne cmpsb", 8, 7, True),
        ("repe cmpsb", 3, 0, True),
        ("repne scasb", 8, 3, True),  # AL = "e", the fifth byte of "abcdefgh"
        ("repe scasb", 8, 7, False),
        ("repne scasb", 2, 0, False),
    ],
)
def test_conditional_repeat(source: str, count: int, left: int, zero: bool) -> None:
    vcpu = flat32(f"{source}; hlt")
    vcpu.memory.write(DATA, b"abcXefgh")
    vcpu.memory.write(DATA + 0x100, b"abcdefgh")
    vcpu.esi, vcpu.edi, vcpu.ecx, vcpu.eax = DATA, DATA + 0x100, count, ord("e")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx == left
    assert vcpu.edi == DATA + 0x100 + count - left
    assert bool(vcpu.eflags & 1 << 6) is zero


@pytest.mark.parametrize("operation", ["movsb", "stosd", "lodsb", "cmpsb", "scasb"])
def test_count_of_zero_does_nothing(operation: str) -> None:
    """Not even a fault, and the flags stay."""
    vcpu = flat32(f"rep {operation}; hlt")
    vcpu.esi = vcpu.edi = 0xFFFFFFF0
    vcpu.ecx, vcpu.eflags = 0, 0x2 | 1 << 6 | 1
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.esi, vcpu.edi, vcpu.ecx) == (0xFFFFFFF0, 0xFFFFFFF0, 0)
    assert vcpu.eflags == 0x2 | 1 << 6 | 1


def test_overlapping_forward_move_repeats_its_pattern() -> None:
    """REP MOVSB is a byte at a time however it is done: a classic way to fill."""
    vcpu = flat32("rep movsb; hlt")
    vcpu.memory.write(DATA, b"abc")
    vcpu.esi, vcpu.edi, vcpu.ecx = DATA, DATA + 3, 100
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 103) == (b"abc" * 35)[:103]


def test_backward_move_of_an_overlapping_range() -> None:
    vcpu = flat32("std; rep movsd; hlt")
    original = bytes(range(200))
    vcpu.memory.write(DATA, original)
    vcpu.esi, vcpu.edi, vcpu.ecx = DATA + 196, DATA + 200, 50
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA + 4, 200) == original
    assert (vcpu.esi, vcpu.edi) == (DATA - 4, DATA)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 100_003])
@pytest.mark.parametrize("shift", [0, 1, 4095])
def test_long_moves_across_pages(size: int, shift: int) -> None:
    vcpu = flat32("cld; rep movsb; hlt")
    data = bytes((7 * n + (n >> 8)) & 0xFF for n in range(size))
    vcpu.memory.write(DATA + shift, data)
    vcpu.esi, vcpu.edi, vcpu.ecx = DATA + shift, 0x80003, size
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(0x80002, size + 2) == b"\0" + data + b"\0"
    assert (vcpu.esi, vcpu.edi) == (DATA + shift + size, 0x80003 + size)


@pytest.mark.parametrize(
    ("operation", "size"), [("stosb", 1), ("stosw", 2), ("stosd", 4)], ids=lambda value: f"{value}"
)
@pytest.mark.parametrize("shift", [0, 1, 2, 3, 5, 31, 63, 4093])
def test_fills_of_every_width_alignment_and_length(operation: str, size: int, shift: int) -> None:
    """However many elements are stored at once, and wherever they lie."""
    vcpu = flat32(f"rep {operation}; hlt")
    value = 0x04030201
    for count in (1, 5, 64, 101, 255, 1024, 5001):
        vcpu.memory.write(DATA, bytes(0x7000))
        vcpu.start_flat32(eip=CODE, esp=vcpu.esp)
        vcpu.eax, vcpu.ecx, vcpu.edi = value, count, DATA + shift
        assert run(vcpu) == "EXIT_HLT"
        filled = value.to_bytes(4, "little")[:size] * count
        assert vcpu.memory.read(DATA, 0x7000) == (bytes(shift) + filled).ljust(0x7000, b"\0")


def test_repeat_with_16_bit_addresses_wraps_in_its_segment() -> None:
    """The 67h prefix: CX, SI and DI count, the upper halves of the registers stay."""
    vcpu = flat32("addr16 rep stosb; hlt")
    vcpu.es.base = DATA
    vcpu.eax, vcpu.ecx, vcpu.edi = 0x77, 0xABCD0004, 0x1234FFFE
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.edi) == (0xABCD0000, 0x12340002)
    assert vcpu.memory.read(DATA + 0xFFFE, 3) == b"\x77\x77\0"
    assert vcpu.memory.read(DATA, 3) == b"\x77\x77\0"


def test_limit_reached_in_the_middle_goes_on_there() -> None:
    """Whatever chunks the core uses, the sum of all runs is one complete operation."""
    vcpu = flat32("cld; rep stosb; hlt")
    size = 0x80000
    vcpu.eax, vcpu.edi, vcpu.ecx = 0x5A, DATA, size
    runs = 0
    while vcpu.run(max_instructions=1) != x86.EXIT_HLT:
        runs += 1
        assert runs < size + 3
        assert vcpu.edi + vcpu.ecx == DATA + size
    view = vcpu.memory.view()
    assert (view[DATA : DATA + size] == 0x5A).all()
    assert view[DATA + size] == 0
    assert vcpu.instructions == 3


@pytest.mark.parametrize("source", ["addr16 rep stosb", "addr16 rep movsb"])
def test_16_bit_addresses_wrap_in_the_middle_of_a_page(source: str) -> None:
    """Where the segment has more than 64 KiB, and does not begin with a page."""
    vcpu = flat32(f"{source}; hlt")
    vcpu.es.base = DATA + 8
    vcpu.edi, vcpu.esi, vcpu.ecx, vcpu.eax = 0xFFFC, 0x100, 8, 0x55
    vcpu.memory.write(0x100, b"\x55" * 8)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA + 8, 5) == b"\x55" * 4 + b"\0"
    assert vcpu.memory.read(DATA + 8 + 0xFFFC, 8) == b"\x55" * 4 + bytes(4)
    assert vcpu.edi == 4
