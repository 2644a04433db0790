"""x87 opcodes and WAIT on a machine without a coprocessor.

#NM where CR0 asks for it (SDM vol. 3, table 2-2). Otherwise nothing answers: no register and no
memory changes, and that is how software finds out that there is none.
"""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import CODE, DATA, GP, RAM, Event, delivered, flat32, gate, real16, run, set_gate

NM = 7
MP, EM, TS = 1 << 1, 1 << 2, 1 << 3

#: An instruction of each of the eight opcodes, with a memory operand and without.
IN_MEMORY = [f".byte {opcode:#x}, 0x05; .long {DATA}" for opcode in range(0xD8, 0xE0)]
IN_REGISTERS = [f".byte {opcode:#x}, 0xc1" for opcode in range(0xD8, 0xE0)]


@pytest.mark.parametrize("flags", [EM, TS, EM | TS, EM | MP, TS | MP])
@pytest.mark.parametrize("source", IN_MEMORY + IN_REGISTERS)
def test_device_not_available(source: str, flags: int) -> None:
    vcpu = flat32(source)
    vcpu.cr0 |= flags
    expect_fault(vcpu, Event(NM, CODE))


@pytest.mark.parametrize("flags", [0, MP])
@pytest.mark.parametrize("source", IN_MEMORY + IN_REGISTERS)
def test_nothing_answers(source: str, flags: int) -> None:
    vcpu = flat32(f"{source}; hlt")
    vcpu.cr0 |= flags
    vcpu.eax, vcpu.eflags = 0x12345678, 0x8D7
    before = vcpu.memory.view().copy()
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + (7 if ".long" in source else 3)
    assert (vcpu.eax, vcpu.eflags) == (0x12345678, 0x8D7)
    assert (vcpu.memory.view() == before).all()


@pytest.mark.parametrize("address", [RAM, 0xFFFFFFFF])
def test_no_operand_is_accessed(address: int) -> None:
    """No exit for a device, no fault of a segment limit."""
    vcpu = flat32("fld qword ptr [eax]; hlt")
    vcpu.eax, vcpu.ds.limit = address, 0xFFF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 3


def test_the_usual_probe_finds_none() -> None:
    """FNINIT; FNSTSW: a coprocessor would store 0 (SDM vol. 1, 8.1.7)."""
    source = "fninit; mov word ptr [0x500], 0x5a5a; fnstsw [0x500]; fnstcw [0x502]; hlt"
    vcpu = real16(source)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(0x500, 4) == b"\x5a\x5a\0\0"


def test_the_probe_through_ax_finds_none() -> None:
    vcpu = flat32("fninit; fnstsw ax; hlt")
    vcpu.eax = 0xFFFF5A5A
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0xFFFF5A5A


@pytest.mark.parametrize("flags", [0, MP, EM, TS, EM | TS, EM | MP])
def test_wait_does_nothing(flags: int) -> None:
    vcpu = flat32("wait; hlt")
    vcpu.cr0 |= flags
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 2


@pytest.mark.parametrize("flags", [MP | TS, MP | TS | EM])
def test_wait_faults_when_both_mp_and_ts_are_set(flags: int) -> None:
    vcpu = flat32("wait")
    vcpu.cr0 |= flags
    expect_fault(vcpu, Event(NM, CODE))


def test_clts_lets_the_instruction_succeed() -> None:
    """What a system does that saves coprocessor state late: CLTS in the handler, then again."""
    vcpu = flat32("fninit; hlt; handler: clts; iret")
    set_gate(vcpu.memory, NM, gate(CODE + 3))
    vcpu.cr0 |= TS
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 3
    assert vcpu.cr0 & TS == 0


def test_the_end_of_the_code_segment_comes_first() -> None:
    """The operand's bytes are fetched before anything looks at CR0."""
    vcpu = flat32(IN_MEMORY[0])
    vcpu.cr0 |= EM
    vcpu.cs.limit = CODE + 4
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, 0)
