"""The instruction forms that the generator draws from: the rows of x86core/isa.py."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from tests.differential.disassembly import PREFIXES
from x86core.isa import ROWS, Row

#: Rows whose outcome two right processors need not share, or that take the harness's ground away.
EXCLUDED: Final = {
    "CPUID": "identifies the processor",
    "RDTSC": "reads the time",
    "MONITOR": "Unicorn has none",
    "MWAIT": "Unicorn has none",
    "LGDT": "moves the table that exceptions need",
    "LIDT": "moves the table that exceptions need",
    "MOV Cd,Rd": "leaves the mode",
}

_OPERAND = re.compile(r"([EGIMSCROJAZXY])([bwvpsd]?)")


@dataclass(frozen=True, slots=True)
class Form:
    """An opcode form.

    `operands` holds the addressing letter and the size letter of each operand that is encoded.
    """

    opcode: bytes
    mnemonic: str
    operands: tuple[tuple[str, str], ...]
    #: The ModRM reg field where it is part of the opcode.
    group: int | None
    #: How many values of the opcode's last byte belong to the form.
    variants: int
    lockable: bool
    string: bool

    @property
    def kinds(self) -> str:
        """The addressing letters, in order."""
        return "".join(kind for kind, _ in self.operands)

    @property
    def has_modrm(self) -> bool:
        """Whether a ModRM byte follows the opcode."""
        return self.group is not None or not set(self.kinds).isdisjoint("EGMSCR")


@functools.cache
def forms() -> tuple[Form, ...]:
    """Every form of the table that can be compared."""
    return tuple(
        _form(row)
        for row in ROWS
        if row.mnemonic not in EXCLUDED and row.instruction not in EXCLUDED
    )


@functools.cache
def _opcodes() -> frozenset[bytes]:
    return frozenset(
        bytes((*row.bytes[:-1], row.bytes[-1] + variant))
        for row in ROWS
        for variant in range(row.span)
    )


def is_in_table(code: bytes) -> bool:
    """Whether the table has the opcode of an instruction, or of one in its group."""
    plain = code.lstrip(bytes(PREFIXES))
    return any(plain[:size] in _opcodes() for size in (1, 2, 3))


def _form(row: Row) -> Form:
    operands = [match for operand in row.operands if (match := _OPERAND.fullmatch(operand))]
    return Form(
        bytes(row.bytes),
        row.mnemonic,
        tuple((match[1], match[2]) for match in operands),
        row.extension,
        row.span,
        "lock" in row.properties,
        "string" in row.properties,
    )
