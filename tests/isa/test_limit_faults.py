"""Accesses and jumps beyond a segment limit: nothing changed, EIP at the instruction.

DS and ES (or SS) are segments of 4 KiB at DATA, so that offset FFFh is their last byte. Source: SDM
vol. 2, "Protected Mode Exceptions" of each instruction; vol. 3, 5.3.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.isa.faults import expect_fault, small
from tests.support import (
    CODE,
    DATA,
    GP,
    SS,
    Event,
    delivered,
    flat32,
    run,
)


@pytest.mark.parametrize(
    "source",
    [
        "mov eax, [0x1000]",
        "mov eax, [0xFFD]",
        "mov ax, [0xFFF]",
        "mov al, [ebx]",
        "mov [0xFFD], eax",
        "mov word ptr [0xFFF], 7",
        "mov [0x1000], al",
        "movzx edx, word ptr [0xFFF]",
        "movsx edx, byte ptr [0x1000]",
        "add [0xFFD], eax",
        "add eax, [0xFFD]",
        "adc byte ptr [0x1000], 1",
        "cmp dword ptr [0xFFE], 0",
        "test [0x1000], al",
        "inc dword ptr [0xFFE]",
        "neg word ptr [0xFFF]",
        "not byte ptr [0x1000]",
        "shl dword ptr [0xFFD], 3",
        "rcr word ptr [0xFFF], cl",
        "xchg [0xFFE], edx",
        "xadd [0x1000], ebx",
        "lock xadd [0x1000], ebx",
        "cmpxchg [0xFFF], ecx",
        "lock cmpxchg [0xFFF], ecx",
        "lock inc dword ptr [0x1000]",
        "lock or byte ptr [0x1000], 1",
        "setc byte ptr [0x1000]",
        "mul dword ptr [0xFFD]",
        "imul edx, [0xFFD], 5",
        "div byte ptr [0x1000]",
        "idiv dword ptr [0x1000]",
        "push dword ptr [0xFFD]",
        "pop dword ptr [0xFFD]",
        "call dword ptr [0xFFD]",
        "jmp dword ptr [0x1000]",
        "lgdt [0xFFB]",
        "lidt [0x1000]",
        "mov es, [0xFFF]",
        "mov [0xFFF], es",
    ],
)
def test_data_beyond_the_limit(source: str) -> None:
    vcpu = flat32(source)
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0))


@pytest.mark.parametrize("prefix", ["", "rep "])
@pytest.mark.parametrize(
    ("operation", "esi", "edi"),
    [
        ("movsb", 0x1000, 0),
        ("movsd", 0xFFD, 0),
        ("movsd", 0, 0xFFD),
        ("movsw", 0x10, 0xFFF),
        ("stosb", 0, 0x1000),
        ("stosd", 0, 0xFFE),
        ("lodsw", 0xFFF, 0),
        ("lodsd", 0xFFFFFFFF, 0),
    ],
)
def test_string_operation_beyond_the_limit(prefix: str, operation: str, esi: int, edi: int) -> None:
    vcpu = flat32(prefix + operation)
    small(vcpu.ds)
    small(vcpu.es)
    expect_fault(vcpu, Event(GP, CODE, 0), esi=esi, edi=edi)


@pytest.mark.parametrize(
    ("source", "esi", "edi"),
    [
        ("repe cmpsd", 0xFFE, 0),
        ("cmpsb", 0, 0x1000),
        ("repne scasw", 0, 0xFFF),
        ("scasb", 0, 0x1000),
    ],
)
def test_string_comparison_beyond_the_limit(source: str, esi: int, edi: int) -> None:
    vcpu = flat32(source)
    small(vcpu.ds)
    small(vcpu.es)
    expect_fault(vcpu, Event(GP, CODE, 0), esi=esi, edi=edi)


@pytest.mark.parametrize(
    ("source", "registers"),
    [
        ("mov eax, ss:[0x1000]", {}),
        ("mov eax, [ebp]", {"ebp": 0xFFD}),
        ("mov [ebp+ecx*4], eax", {"ebp": 0xFF4}),
        ("add [esp+0xFFF], eax", {}),
        ("pop eax", {"esp": 0xFFE}),
        ("pop dword ptr [0x300]", {"esp": 0xFFD}),
        ("popf", {"esp": 0xFFE}),
        ("popa", {"esp": 0xFE4}),
        ("pop ds", {"esp": 0xFFF}),
        ("ret", {"esp": 0xFFE}),
        ("ret 8", {"esp": 0xFFE}),
        ("retf", {"esp": 0xFFC}),
        ("iret", {"esp": 0xFF8}),
        ("pusha", {"esp": 0x1C}),
    ],
)
def test_stack_beyond_the_limit(source: str, registers: dict[str, int]) -> None:
    """SS, and whatever EBP or ESP addresses: #SS(0). The handler's frame still fits."""
    vcpu = flat32(source)
    small(vcpu.ss)
    expect_fault(vcpu, Event(SS, CODE, 0), **({"esp": 0x800} | registers))


@pytest.mark.parametrize(
    ("source", "registers"),
    [
        (f"jmp {CODE + 0x1000}", {}),
        (f"call {CODE + 0x1000}", {}),
        (f"jc {CODE + 0x1000}", {}),
        ("jecxz target", {"ecx": 0}),
        ("loop target", {}),
        ("jc target", {}),
        ("jmp eax", {"eax": CODE + 0x64}),
        ("call eax", {"eax": CODE + 0x64}),
        ("ret", {}),
    ],
)
def test_near_transfer_beyond_the_limit(source: str, registers: dict[str, int]) -> None:
    """The transfer itself faults, not the fetch at its target."""
    vcpu = flat32(f"{source}; .org 0x64, 0x90; target: hlt")
    vcpu.cs.limit = CODE + 0x63
    vcpu.memory.write(vcpu.esp - 4, (CODE + 0x64).to_bytes(4, "little"))
    expect_fault(vcpu, Event(GP, CODE, 0), **registers, esp=vcpu.esp - 4)


@pytest.mark.parametrize("limit", [CODE, CODE + 4])
def test_fetch_beyond_the_limit(limit: int) -> None:
    """Of the second byte, or of the last one of the immediate."""
    vcpu = flat32("mov dword ptr [eax], 0x12345678")
    vcpu.cs.limit = limit
    expect_fault(vcpu, Event(GP, CODE, 0), eax=DATA)


def test_straight_line_runs_up_to_the_limit() -> None:
    vcpu = flat32("inc eax; inc eax; inc eax; hlt")
    vcpu.cs.limit, vcpu.eax = CODE + 1, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + 2, 0)
    assert vcpu.eax == 2


@pytest.mark.parametrize(("source", "step"), [("rep stosd", 4), ("std; rep stosw", -2)])
def test_repeated_operation_faults_where_it_got_to(source: str, step: int) -> None:
    """The iterations before the fault stay done; after it the instruction could go on."""
    vcpu = flat32(source)
    small(vcpu.es)
    start = 0xFF4 if step > 0 else 4
    vcpu.edi, vcpu.ecx, vcpu.eax = start, 10, 0xA5A5A5A5
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + source.count(";"), 0)
    assert vcpu.ecx == 7
    assert vcpu.edi == (start + 3 * step) & 0xFFFFFFFF
    expected = range(0xFF4, 0x1000) if step > 0 else range(6)
    assert np.flatnonzero(vcpu.memory.view()[DATA:]).tolist() == list(expected)


def test_repeated_move_faults_between_read_and_write_of_one_element() -> None:
    vcpu = flat32("rep movsd")
    small(vcpu.es)
    vcpu.memory.write(0x40000, bytes(range(1, 33)))
    vcpu.esi, vcpu.edi, vcpu.ecx = 0x40000, 0xFF8, 8
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, 0)
    assert (vcpu.esi, vcpu.edi, vcpu.ecx) == (0x40008, 0x1000, 6)
    assert vcpu.memory.read(DATA + 0xFF8, 9) == bytes([*range(1, 9), 0])
