"""LOCK before every row of the table: allowed where the manual's list says so, else #UD.

SDM vol. 2, LOCK: before ADD, ADC, AND, BTC, BTR, BTS, CMPXCHG, CMPXCHG8B, DEC, INC, NEG, NOT, OR,
SBB, SUB, XADD, XCHG and XOR, and only where the destination is in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support import CODE, DATA, UD, Event, delivered, flat32, run
from x86core.isa import ROWS
from x86core.row import Row

LOCKABLE = {
    *("ADD", "ADC", "AND", "BTC", "BTR", "BTS", "CMPXCHG", "CMPXCHG8B", "DEC", "INC"),
    *("NEG", "NOT", "OR", "SBB", "SUB", "XADD", "XCHG", "XOR"),
}
LOCK = b"\xf0"
#: ModRM for a register, and for the address in EDI.
REGISTER, MEMORY = 0xC0, 0x07


@dataclass(frozen=True)
class Form:
    """One opcode of a row with its operand in a register, in memory, or with none."""

    row: Row
    code: bytes
    in_memory: bool

    @property
    def allows_lock(self) -> bool:
        """By the manual, not by the table's own column."""
        destination = self.row.operands[0][0] if self.row.operands else ""
        # An XCHG with memory is written with either operand first.
        return self.row.mnemonic in LOCKABLE and self.in_memory and destination in "EM"

    def __str__(self) -> str:
        return f"{self.row.opcode} {self.row.instruction} {'memory' if self.in_memory else ''}"


def forms(row: Row) -> list[Form]:
    opcode, zeros = bytes(row.bytes), bytes(8)
    has_modrm = row.extension is not None or any(
        operand[0] in "EGMRSCD" and operand[1:2] in ("", *"abdpqsvw") for operand in row.operands
    )
    if not has_modrm:
        # An offset without ModRM is memory as well.
        return [Form(row, opcode + zeros, any(operand[0] == "O" for operand in row.operands))]
    reg = (row.extension or 0) << 3
    return [
        Form(row, opcode + bytes((mod | reg,)) + zeros, mod == MEMORY) for mod in (REGISTER, MEMORY)
    ]


FORMS = [form for row in ROWS for form in forms(row)]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_lock(form: Form) -> None:
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, LOCK + form.code)
    vcpu.edi, vcpu.ecx = DATA, 0
    vcpu.run(max_instructions=1)
    if form.allows_lock:
        assert vcpu.instructions == 1
        assert CODE < vcpu.eip <= CODE + len(form.code) + 1
    else:
        assert run(vcpu) == "EXIT_HLT"
        assert delivered(vcpu) == Event(UD, CODE)


def test_every_kind_of_row_is_here() -> None:
    """Both outcomes, and each instruction of the list in at least one allowed form."""
    assert {form.row.mnemonic for form in FORMS if form.allows_lock} == LOCKABLE
    assert len([form for form in FORMS if not form.allows_lock]) > len(ROWS)


@pytest.mark.parametrize("order", ["f066", "66f0", "f0f3", "f264f0", "f02e67", "f0f0"])
def test_among_other_prefixes(order: str) -> None:
    """Wherever it stands, and more than once."""
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, bytes.fromhex(order) + b"\x89\xc8")  # MOV EAX, ECX
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE)


@pytest.mark.parametrize("order", ["f066", "66f0", "f0f3", "f264f0", "f026", "f0f0"])
def test_among_other_prefixes_where_it_may_stand(order: str) -> None:
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, bytes.fromhex(order) + b"\xff\x07\xf4")  # INC [EDI]; HLT
    vcpu.edi = DATA
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 4) == b"\x01\0\0\0"
    assert vcpu.eip == CODE + len(order) // 2 + 3
