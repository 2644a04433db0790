"""Divide errors, undefined opcodes and bad operands: precise, so that a handler can mend them."""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import (
    CODE,
    DATA,
    DE,
    GP,
    UD,
    Event,
    flat32,
    gate,
    run,
    set_gate,
)


@pytest.mark.parametrize(
    ("source", "registers"),
    [
        ("div ecx", {"ecx": 0}),
        ("div ecx", {"ecx": 1, "edx": 1}),
        ("div cx", {"ecx": 2, "edx": 2}),
        ("div cl", {"ecx": 1, "eax": 0x100}),
        ("idiv ecx", {"ecx": 0}),
        ("idiv ecx", {"ecx": 0xFFFFFFFF, "edx": 0xFFFFFFFF, "eax": 0x80000000}),
        ("idiv cx", {"ecx": 0xFFFF, "edx": 0xFFFF, "eax": 0x8000}),
        ("idiv cl", {"ecx": 0xFF, "eax": 0xFF80}),
        ("idiv cl", {"ecx": 1, "eax": 0x80}),
    ],
)
def test_divide_error(source: str, registers: dict[str, int]) -> None:
    expect_fault(flat32(source), Event(DE, CODE), **registers)


@pytest.mark.parametrize(
    "source",
    [
        "ud2",
        ".byte 0x0f, 0xff, 0xc0",
        ".byte 0x0f, 0x0a",
        ".byte 0xff, 0xf8",  # FF /7
        ".byte 0xfe, 0xd0",  # FE /2
        ".byte 0xc6, 0xc8, 1",  # C6 /1
        ".byte 0x8f, 0xc8",  # 8F /1
        ".byte 0x8d, 0xc0",  # LEA of a register
        ".byte 0xc4, 0xc0",  # LES of a register
        ".byte 0xff, 0xe8",  # far JMP of a register
        ".byte 0xff, 0xd8",  # far CALL of a register
        ".byte 0x8e, 0xc8",  # MOV to CS
        ".byte 0x8e, 0xf0",  # MOV to segment register 6
        ".byte 0x8c, 0xf8",  # MOV from segment register 7
        ".byte 0x0f, 0x22, 0xc8",  # MOV to CR1
        ".byte 0x0f, 0x20, 0xe8",  # MOV from CR5
        ".byte 0x0f, 0x01, 0xd0",  # LGDT of a register, or XGETBV
        ".byte 0xf0, 0x90",  # LOCK and what cannot be locked:
        ".byte 0xf0, 0x01, 0xc8",  # ADD to a register
        ".byte 0xf0, 0x39, 0x08",  # CMP
        ".byte 0xf0, 0x03, 0x08",  # ADD from memory
        ".byte 0xf0, 0x89, 0x08",  # MOV
        ".byte 0xf0, 0x85, 0x08",  # TEST
        ".byte 0xf0, 0xa4",  # MOVSB
        ".byte 0xf0, 0xc1, 0x20, 1",  # SHL
        ".byte 0xf0, 0xf4",  # HLT
        ".byte 0xf0, 0x0f, 0xc1, 0xc8",  # XADD of registers
    ],
)
def test_undefined_opcode(source: str) -> None:
    expect_fault(flat32(source), Event(UD, CODE), eax=DATA)


def test_instruction_of_15_bytes_is_the_longest() -> None:
    vcpu = flat32(".fill 14, 1, 0x66; nop; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 16
    expect_fault(flat32(".fill 15, 1, 0x66; nop; hlt"), Event(GP, CODE, 0))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("mov cr0, eax", 0x80000000),  # PG without PE
        ("mov cr0, eax", 0x20000001),  # NW without CD
        ("mov cr4, eax", 0x80000000),  # reserved
    ],
)
def test_bad_control_register_value(source: str, value: int) -> None:
    expect_fault(flat32(source), Event(GP, CODE, 0), eax=value)


def test_restart_after_the_handler_mended_the_cause() -> None:
    """What precision is for: fix, IRET, and the same instruction succeeds."""
    vcpu = flat32("div ecx; hlt; handler: mov ecx, 5; iret")
    set_gate(vcpu.memory, DE, gate(CODE + 3))
    vcpu.eax, vcpu.edx, vcpu.ecx = 100, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax) == (CODE + 3, 20)
