"""UMONITOR: the address that it monitors, and what it refuses (SDM vol. 2)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.isa.faults import ARITHMETIC, expect_fault, small
from tests.support import (
    CODE,
    DATA,
    GENERAL,
    GP,
    SS,
    Event,
    Running,
    delivered,
    flat32,
    real16,
    run,
)

OTHER = DATA + 0x1000


def with_feature(source: str) -> x86.VCPU:
    vcpu = flat32(source)
    vcpu.features = ("waitpkg",)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


@pytest.mark.parametrize("number", range(8), ids=GENERAL)
def test_the_address_may_be_in_any_register(number: int) -> None:
    vcpu = with_feature("hlt")
    umonitor = bytes((0xF3, 0x0F, 0xAE, 0xF0 + number))
    vcpu.memory.write(CODE, umonitor + b"\xeb\0" + umonitor + b"\xe6\x80")
    setattr(vcpu, GENERAL[number], DATA + 0x48)
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", DATA + 0x40)


@pytest.mark.parametrize(
    ("prefix", "ebx", "line"),
    [
        ("", OTHER + 0x7F, OTHER + 0x40),
        (".byte 0x64;", 0x100, OTHER + 0x100),
        (".byte 0x67;", 0x00058123, 0x8100),
        (".byte 0x67, 0x64;", 0x00058123, OTHER + 0x8100),
    ],
)
def test_address(prefix: str, ebx: int, line: int) -> None:
    """The register in DS; a segment override counts, and of a 16-bit address the low half alone."""
    umonitor = f"{prefix} .byte 0xf3, 0x0f, 0xae, 0xf3"
    vcpu = with_feature(f"{umonitor}; jmp arm; arm: {umonitor}; out 0x80, al")
    vcpu.ebx, vcpu.fs.base = ebx, OTHER
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", line)


def test_in_real_mode() -> None:
    source = "umonitor bx; jmp arm; arm: umonitor bx; out 0x80, al; xor ecx, ecx; umwait ecx; hlt"
    vcpu = real16(source)
    vcpu.features, vcpu.mwait_policy = ("waitpkg",), x86.MWAIT_FAULT
    vcpu.ebx, vcpu.ds.selector, vcpu.ds.base = 0xABCD0048, DATA >> 4, DATA
    vcpu.eax = vcpu.edx = 0xFFFFFFFF
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", DATA + 0x40)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA + 0x7F, b"\1")
        assert running.exit() == "EXIT_HLT"


def test_segment_limit_as_of_a_byte_read() -> None:
    vcpu = with_feature("umonitor eax; hlt")
    small(vcpu.ds)
    vcpu.eax = 0xFFF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 5
    vcpu = with_feature("umonitor eax")
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0), eax=0x1000)


def test_stack_segment_raises_a_stack_fault() -> None:
    vcpu = with_feature(".byte 0x36; umonitor eax")
    small(vcpu.ss)
    expect_fault(vcpu, Event(SS, CODE, 0), eax=0x1000, esp=0x800)


def test_null_segment() -> None:
    vcpu = with_feature("mov ds, ecx; umonitor eax")
    vcpu.eax, vcpu.ecx = DATA, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + 2, 0)


def test_beyond_64_kib_in_real_mode() -> None:
    vcpu = real16(".byte 0x67, 0xf3, 0x0f, 0xae, 0xf0")
    vcpu.features = ("waitpkg",)
    vcpu.eax = 0x10000
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 0, cs=CODE >> 4)


def test_umonitor_changes_neither_flags_nor_registers() -> None:
    vcpu = with_feature("umonitor ebx; hlt")
    for number, name in enumerate(name for name in GENERAL if name != "esp"):
        setattr(vcpu, name, DATA + 0x1000 * number)
    vcpu.eflags = 2 | ARITHMETIC
    before = {name: getattr(vcpu, name) for name in GENERAL}
    assert run(vcpu) == "EXIT_HLT"
    assert {name: getattr(vcpu, name) for name in GENERAL} == before
    assert vcpu.eflags == 2 | ARITHMETIC
