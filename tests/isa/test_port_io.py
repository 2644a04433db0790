"""IN and OUT: an exit, completed by the next run()."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.isa.faults import expect_fault, small
from tests.support import CODE, DATA, FLAG_IF, GP, Event, delivered, flat32, real16, run

WIDTHS = {"al": 1, "ax": 2, "eax": 4}


@pytest.mark.parametrize("register", WIDTHS)
@pytest.mark.parametrize("port", ["0x60", "dx"])
def test_out(register: str, port: str) -> None:
    vcpu = flat32(f"out {port}, {register}; inc ebx; hlt")
    vcpu.eax, vcpu.ebx, vcpu.edx = 0x11223344, 0, 0xABCD03F8
    assert run(vcpu) == "EXIT_IO"
    size = WIDTHS[register]
    assert vcpu.io_direction == x86.EXIT_IO_OUT
    assert vcpu.io_port == (0x60 if port == "0x60" else 0x3F8)
    assert vcpu.io_size == size
    assert vcpu.io_data == 0x11223344 & (1 << 8 * size) - 1
    assert vcpu.ebx == 0, "nothing runs on before the exit is handled"
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.ebx) == (0x11223344, 1)


@pytest.mark.parametrize("register", WIDTHS)
@pytest.mark.parametrize("port", ["0x60", "dx"])
def test_in_completes_at_the_next_run(register: str, port: str) -> None:
    """Only the bytes of the register's width change, whatever else the VMM left in the data."""
    vcpu = flat32(f"in {register}, {port}; hlt")
    vcpu.eax, vcpu.edx = 0x11223344, 0xABCD0071
    assert run(vcpu) == "EXIT_IO"
    size = WIDTHS[register]
    assert (vcpu.io_direction, vcpu.io_size) == (x86.EXIT_IO_IN, size)
    assert vcpu.io_port == (0x60 if port == "0x60" else 0x71)
    assert vcpu.eax == 0x11223344
    vcpu.io_data = 0xFEDCBA98
    assert run(vcpu) == "EXIT_HLT"
    mask = (1 << 8 * size) - 1
    assert vcpu.eax == 0x11223344 & ~mask | 0xFEDCBA98 & mask


def test_each_access_exits_once_and_in_order() -> None:
    vcpu = flat32("mov al, 1; out 1, al; in al, 2; inc eax; out 3, al; hlt")
    seen = []
    while run(vcpu) == "EXIT_IO":
        seen.append((vcpu.io_port, vcpu.io_direction, vcpu.io_data if vcpu.io_direction else None))
        vcpu.io_data = 0x41
    assert seen == [(1, 1, 1), (2, 0, None), (3, 1, 0x42)]
    assert vcpu.stats["io_exits"] == 3
    assert vcpu.instructions == 6


def test_port_in_real_mode() -> None:
    vcpu = real16("mov dx, 0xffff; in ax, dx; hlt")
    assert run(vcpu) == "EXIT_IO"
    assert (vcpu.io_port, vcpu.io_size) == (0xFFFF, 2)
    vcpu.io_data = 0xBEEF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax & 0xFFFF == 0xBEEF


def test_interrupt_at_the_exit_is_taken_after_the_completion() -> None:
    vcpu = flat32("in al, 0x60; nop; hlt")
    vcpu.eflags |= FLAG_IF
    vcpu.eax = 0
    assert run(vcpu) == "EXIT_IO"
    vcpu.interrupt(0x40)
    vcpu.io_data = 0x99
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE + 2)
    assert vcpu.eax == 0x99


def test_limit_of_one_and_an_exit() -> None:
    """The instruction is retired by the run that completes it."""
    vcpu = flat32("in al, 0x60; inc ebx; hlt")
    vcpu.ebx = 0
    assert vcpu.run(max_instructions=1) == x86.EXIT_IO
    assert vcpu.instructions == 0
    vcpu.io_data = 7
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    assert (vcpu.instructions, vcpu.eip, vcpu.eax & 0xFF, vcpu.ebx) == (1, CODE + 2, 7, 0)


def test_a_loop_of_many_exits() -> None:
    vcpu = flat32("again: in al, dx; add ebx, eax; dec ecx; jnz again; hlt")
    vcpu.eax, vcpu.ebx, vcpu.ecx = 0, 0, 100
    for value in range(100):
        assert run(vcpu) == "EXIT_IO"
        vcpu.io_data = value
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == sum(range(100))


@pytest.mark.parametrize(("suffix", "size"), [("b", 1), ("w", 2), ("d", 4)])
def test_outs_reads_memory_and_moves_on(suffix: str, size: int) -> None:
    vcpu = flat32(f"cld; outs{suffix}; hlt")
    vcpu.memory.write(DATA, b"\x11\x22\x33\x44")
    vcpu.esi, vcpu.edx = DATA, 0x1F0
    assert run(vcpu) == "EXIT_IO"
    assert (vcpu.io_direction, vcpu.io_port, vcpu.io_size) == (x86.EXIT_IO_OUT, 0x1F0, size)
    assert vcpu.io_data == 0x44332211 & (1 << 8 * size) - 1
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.esi == DATA + size


def test_repeated_ins_stores_each_element() -> None:
    """One exit for each, so that an interrupt or a limit can come in between."""
    vcpu = flat32("std; rep insw; hlt")
    vcpu.edi, vcpu.ecx, vcpu.edx = DATA + 4, 3, 0x1F0
    for value in (0x1111, 0x2222, 0x3333):
        assert run(vcpu) == "EXIT_IO"
        assert (vcpu.io_direction, vcpu.io_size) == (x86.EXIT_IO_IN, 2)
        vcpu.io_data = value
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 6) == b"\x33\x33\x22\x22\x11\x11"
    assert (vcpu.edi, vcpu.ecx) == (DATA - 2, 0)


def test_ins_that_cannot_store_reads_no_port() -> None:
    """A device would lose the byte: the fault comes first (SDM vol. 2, INS)."""
    vcpu = flat32("insb")
    small(vcpu.es)
    expect_fault(vcpu, Event(GP, CODE, 0), edi=0x1000)
