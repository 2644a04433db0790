"""LAR LSL VERR VERW ARPL SLDT STR LLDT LTR, and the LDT (SDM vol. 3, 5.10; vol. 2)."""

from __future__ import annotations

import pytest

from tests.protected.support import (
    CODE3,
    CONFORMING,
    DATA3,
    LDT,
    LDT_AT,
    OTHER_TSS,
    OWN_TASK,
    TASK,
    TASK_GATE,
    access,
    event,
    protected,
    set_descriptor,
)
from tests.support import (
    ABSENT,
    CODE,
    CODE32,
    DATA,
    DATA32,
    FLAG_ZF,
    GP,
    NP,
    UD,
    Event,
    delivered,
    descriptor,
    flat32,
    gate,
    real16,
    run,
    set_gate,
)


def told(source: str, selector: int, cpl: int = 0) -> tuple[bool, int]:
    """(ZF, EBX) behind an instruction on AX."""
    vcpu = protected(f"{source}; int 0x40", cpl=cpl, eax=selector, ebx=0x55555555)
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0xEF00))
    set_descriptor(vcpu, LDT, descriptor(LDT_AT, 0xF, 0xE2))
    vcpu.eflags |= FLAG_ZF if selector == 0 else 0
    assert event(vcpu).vector == 0x40
    return bool(vcpu.eflags & FLAG_ZF), vcpu.ebx


@pytest.mark.parametrize(
    ("selector", "cpl", "rights"),
    [
        (CODE32, 0, 0xCF9B00 & 0xF0FF00),
        (DATA32, 0, 0xC09300),
        (ABSENT, 0, 0xC01300),  # present or not
        (DATA3, 3, 0xC0F300),
        (DATA32, 3, None),  # DPL 0 is not for level 3
        (DATA32 | 3, 0, None),  # nor for RPL 3
        (CONFORMING, 3, 0xC09E00),
        (OWN_TASK, 0, 0x8B00),
        (TASK_GATE, 0, 0xE500),
        (LDT, 3, 0xE200),
        (0, 0, None),
        (0x1000, 0, None),
        (LDT | 4, 0, None),  # no LDT is loaded
    ],
)
def test_lar(selector: int, cpl: int, rights: int | None) -> None:
    unchanged = (False, 0x55555555)
    assert told("lar ebx, eax", selector, cpl) == (unchanged if rights is None else (True, rights))


@pytest.mark.parametrize(
    ("selector", "limit"),
    [
        (CODE32, 0xFFFFFFFF),
        (0x18, 0xFFF),
        (OWN_TASK, 103),
        (LDT, 0xF),
        (TASK_GATE, None),
        (0, None),
    ],
)
def test_lsl(selector: int, limit: int | None) -> None:
    unchanged = (False, 0x55555555)
    assert told("lsl ebx, eax", selector) == (unchanged if limit is None else (True, limit))


def test_lar_with_16_bits_leaves_the_upper_half() -> None:
    assert told("lar bx, ax", DATA32) == (True, 0x55559300)


@pytest.mark.parametrize(
    ("selector", "cpl", "readable", "writable"),
    [
        (DATA32, 0, True, True),
        (CODE32, 0, True, False),
        (DATA32, 3, False, False),
        (DATA3, 3, True, True),
        (CODE3, 3, True, False),
        (CONFORMING, 3, True, False),
        (OWN_TASK, 0, False, False),
        (0, 0, False, False),
    ],
)
def test_verr_and_verw(selector: int, cpl: int, readable: bool, writable: bool) -> None:
    assert told("verr ax", selector, cpl)[0] == readable
    assert told("verw ax", selector, cpl)[0] == writable


@pytest.mark.parametrize(
    ("operand", "register", "result", "zf"),
    [(0x10, 3, 0x13, True), (0x13, 1, 0x13, False), (0x11, 1, 0x11, False), (0x11, 2, 0x12, True)],
)
def test_arpl(operand: int, register: int, result: int, zf: bool) -> None:
    vcpu = protected("arpl ax, bx; arpl [0x20000], bx; hlt", eax=operand, ebx=register)
    vcpu.memory.write(DATA, operand.to_bytes(2, "little"))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.memory.read(DATA, 2)) == (result, result.to_bytes(2, "little"))
    assert bool(vcpu.eflags & FLAG_ZF) == zf


@pytest.mark.parametrize("source", ["sldt", "str", "lldt", "ltr", "verr", "verw"])
def test_real_mode_has_none_of_them(source: str) -> None:
    vcpu = real16(f"{source} ax")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, 0, cs=0x1000)


def test_lldt_and_a_segment_of_the_ldt() -> None:
    vcpu = protected("lldt ax; mov ds, bx; mov ecx, [0]; sldt [0]; sldt edx; hlt", eax=LDT, ebx=0xC)
    vcpu.memory.write(LDT_AT + 8, descriptor(DATA, 0xFF, 0x92))
    vcpu.memory.write(DATA, b"\x78\x56\x34\x12")
    vcpu.edx = 0xFFFFFFFF
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ldtr.selector, vcpu.ldtr.base, vcpu.ldtr.limit) == (LDT, LDT_AT, 0xF)
    assert (vcpu.ecx, vcpu.ds.base, vcpu.ds.limit) == (0x12345678, DATA, 0xFF)
    assert vcpu.edx == LDT, "zero-extended into a 32-bit register"
    assert vcpu.memory.read(DATA, 4) == b"\x50\0\x34\x12", "a word in memory"
    assert vcpu.memory.read(LDT_AT + 13, 1) == b"\x93", "marked accessed"


def test_ltr_marks_the_task_busy() -> None:
    vcpu = protected("ltr ax; str ebx; hlt", eax=TASK)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.tr.selector, vcpu.tr.base, vcpu.ebx) == (TASK, OTHER_TSS, TASK)
    assert access(vcpu, TASK) == 0xEB


@pytest.mark.parametrize(
    ("source", "selector", "vector", "error"),
    [
        ("ltr ax", 0, GP, 0),
        ("ltr ax", OWN_TASK, GP, OWN_TASK),  # busy
        ("ltr ax", LDT, GP, LDT),
        ("ltr ax", 0xC, GP, 0xC),  # in the LDT
        ("ltr ax", 0x1000, GP, 0x1000),
        ("lldt ax", TASK, GP, TASK),
        ("lldt ax", CODE32, GP, CODE32),
        ("lldt ax", 0x54, GP, 0x54),
    ],
)
def test_bad_system_segments(source: str, selector: int, vector: int, error: int) -> None:
    vcpu = protected(source, eax=selector)
    assert event(vcpu) == Event(vector, CODE, error)


@pytest.mark.parametrize(("source", "kind"), [("ltr ax", 0x09), ("lldt ax", 0x02)])
def test_absent_system_segments(source: str, kind: int) -> None:
    vcpu = protected(source, eax=LDT)
    set_descriptor(vcpu, LDT, descriptor(0, 0xFFF, kind))
    assert event(vcpu) == Event(NP, CODE, LDT)


def test_a_null_ldt() -> None:
    vcpu = protected("lldt ax; mov ds, bx", eax=0, ebx=4)
    assert event(vcpu) == Event(GP, CODE + 3, 4)


@pytest.mark.parametrize(
    ("offset", "held"), [(0xFFF, False), (0x1000, True), (0xFFFC, True), (0xFFFD, False)]
)
def test_expand_down_segments(offset: int, held: bool) -> None:
    """Offsets above the limit, to FFFFh where the segment is one of 16 bits (SDM vol. 3, 5.3)."""
    vcpu = protected("mov ds, ax; mov ecx, [ebx]; hlt", eax=LDT, ebx=offset)
    set_descriptor(vcpu, LDT, descriptor(DATA, 0xFFF, 0x97))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip == CODE + 5) == held


@pytest.mark.parametrize("name", ["ldtr", "tr"])
def test_system_segments_are_live_registers(name: str) -> None:
    vcpu = flat32("nop")
    segment = getattr(vcpu, name)
    segment.selector, segment.base, segment.limit = 0x50, 0x1234, 0x67
    assert (segment.selector, segment.base, segment.limit) == (0x50, 0x1234, 0x67)
