"""CMOVcc reads its operand whether or not the condition holds (SDM vol. 2)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.isa.faults import expect_fault, small
from tests.support import CODE, GP, RAM, Event, flat32, run

#: Condition codes, and flags (CF PF ZF SF OF) for which they hold.
CF, PF, ZF, SF, OF = 1, 1 << 2, 1 << 6, 1 << 7, 1 << 11
CONDITIONS = {
    "o": lambda f: bool(f & OF),
    "b": lambda f: bool(f & CF),
    "z": lambda f: bool(f & ZF),
    "be": lambda f: bool(f & (CF | ZF)),
    "s": lambda f: bool(f & SF),
    "p": lambda f: bool(f & PF),
    "l": lambda f: bool(f & SF) != bool(f & OF),
    "le": lambda f: bool(f & ZF) or bool(f & SF) != bool(f & OF),
}
FLAGS = [
    carry | parity | zero | sign | overflow
    for carry in (0, CF)
    for parity in (0, PF)
    for zero in (0, ZF)
    for sign in (0, SF)
    for overflow in (0, OF)
]


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("negated", [False, True])
def test_every_condition(name: str, negated: bool) -> None:
    source = f"cmov{'n' if negated else ''}{name}"
    vcpu = flat32(f"{source} eax, ecx")
    vcpu.ecx = 0x12345678
    for flags in FLAGS:
        vcpu.eax, vcpu.eflags, vcpu.eip = 0, 0x2 | flags, CODE
        assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
        assert vcpu.eax == (0x12345678 if CONDITIONS[name](flags) != negated else 0), f"{flags:#x}"
        assert vcpu.eflags == 0x2 | flags


@pytest.mark.parametrize("name", ["cmovc", "cmovnc"])
def test_a_fault_either_way(name: str) -> None:
    vcpu = flat32(f"{name} eax, [0xffd]")
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0))


@pytest.mark.parametrize(("name", "moved"), [("cmovz", True), ("cmovnz", False)])
def test_an_exit_for_a_device_either_way(name: str, moved: bool) -> None:
    vcpu = flat32(f"{name} eax, [{RAM}]; hlt")
    vcpu.eax, vcpu.eflags = 5, 0x2 | ZF
    assert run(vcpu) == "EXIT_MMIO"
    assert (vcpu.mmio_is_write, vcpu.mmio_length) == (0, 4)
    vcpu.mmio_data = 0x99
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == (0x99 if moved else 5)


@pytest.mark.parametrize(("name", "moved"), [("cmovz", True), ("cmovnz", False)])
def test_of_16_bits_keeps_the_upper_half(name: str, moved: bool) -> None:
    vcpu = flat32(f"{name} ax, cx; hlt")
    vcpu.eax, vcpu.ecx, vcpu.eflags = 0x11112222, 0x33334444, 0x2 | ZF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == (0x11114444 if moved else 0x11112222)
