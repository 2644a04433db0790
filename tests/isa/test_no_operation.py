"""NOP in all its forms touches nothing; UD1 and UD2 are there to fault."""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import CODE, UD, Event, flat32, real16, run

GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")

#: The recommended ones (SDM vol. 2, NOP, table 4-12), with other prefixes, ENDBR32, of a register.
NOPS = [
    ("90", 32),
    ("6690", 32),
    ("f390", 32),  # PAUSE
    ("f290", 32),
    ("0f1f00", 32),
    ("0f1f4000", 32),
    ("0f1f440000", 32),
    ("660f1f440000", 32),
    ("0f1f8000000000", 32),
    ("0f1f840000000000", 32),
    ("660f1f840000000000", 32),
    ("642e660f1f840000000000", 32),
    ("f30f1efa", 32),
    ("0f1fc0", 32),
    ("f20f1fff", 32),
    ("90", 16),
    ("f390", 16),
    ("0f1f00", 16),
    ("0f1f4000", 16),
    ("0f1f800000", 16),
    ("670f1f440000", 16),
]


@pytest.mark.parametrize(("code", "bits"), NOPS)
def test_recommended_forms(code: str, bits: int) -> None:
    expect_nothing(bytes.fromhex(code), bits)


@pytest.mark.parametrize("opcode", range(0x18, 0x20))
@pytest.mark.parametrize("reg", range(8))
@pytest.mark.parametrize("mod", [0x00, 0xC0])
def test_every_reg_field(opcode: int, reg: int, mod: int) -> None:
    """Prefetches and hints to processors to come: nothing here (SDM vol. 2, appendix A)."""
    expect_nothing(bytes((0x0F, opcode, mod | reg << 3)), 32)


def expect_nothing(code: bytes, bits: int) -> None:
    """Run it with all registers far outside of RAM and of every segment."""
    vcpu = flat32("nop") if bits == 32 else real16("nop")
    vcpu.memory.write(CODE, code + b"\xf4")
    for name in GENERAL:
        setattr(vcpu, name, 0xFFFFFFFE)
    vcpu.eflags = 0x8D7
    vcpu.ds.limit = vcpu.ss.limit = 0xFF
    before = vcpu.memory.view().copy()
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == (CODE if bits == 32 else 0) + len(code) + 1
    assert [getattr(vcpu, name) for name in GENERAL] == [0xFFFFFFFE] * 8
    assert vcpu.eflags == 0x8D7
    assert (vcpu.memory.view() == before).all()


@pytest.mark.parametrize("source", ["ud2", ".byte 0x0f, 0xb9, 0xc0", ".byte 0x0f, 0xb9, 0x00"])
def test_undefined_for_ever(source: str) -> None:
    expect_fault(flat32(source), Event(UD, CODE), eax=0xFFFFFFFE)
