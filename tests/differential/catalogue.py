"""The instruction forms that the generator draws from: the rows of x86core/isa.py."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from tests.differential.disassembly import PREFIXES, Mode
from x86core.isa import ROWS
from x86core.row import Row

#: Rows whose outcome two right processors need not share, or that take the harness's ground away.
EXCLUDED: Final = {
    "CPUID": "identifies the processor",
    "RDTSC": "reads the time",
    "RDMSR": "belongs to the model, and Unicorn is another one",
    "WRMSR": "belongs to the model, and Unicorn is another one",
    "MONITOR": "Unicorn has none",
    "MWAIT": "Unicorn has none",
    "LGDT": "moves the table that exceptions need",
    "LIDT": "moves the table that exceptions need",
    "MOV Dd,Rd": "arms breakpoints, which Unicorn keeps from one case to the next",
}
#: The same in all modes but the one that compares control registers.
_LEAVES_MODE: Final = {"MOV Cd,Rd": "leaves the mode", "LMSW": "leaves the mode"}
#: Forms that paged mode is about: drawn more often there.
_OF_PROTECTION: Final = (
    *("MOV Cd,Rd", "INVLPG M", "LLDT Ew", "LTR Ew", "LAR Gv,Ew", "LSL Gv,Ew", "VERR Ew", "VERW Ew"),
    *("ARPL Ew,Gw", "CALL Ap", "JMP Ap", "CALL Mp", "JMP Mp", "RETF", "RETF Iw", "IRET", "INT Ib"),
    *("MOV Sw,Ew", "LSS Gv,Mp", "LDS Gv,Mp", "LFS Gv,Mp", "POP DS", "POP SS", "POP ES", "POPF"),
    *("CLI", "STI", "IN AL,DX", "OUT DX,eAX", "CLTS", "LMSW Ew", "SMSW Ew", "STR Ew", "SLDT Ev"),
)

_OPERAND = re.compile(r"([EGIMSCDROJAZXY])([abdpqsvw]?)")


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
    privileged: bool

    @property
    def kinds(self) -> str:
        """The addressing letters, in order."""
        return "".join(kind for kind, _ in self.operands)

    @property
    def has_modrm(self) -> bool:
        """Whether a ModRM byte follows the opcode."""
        return self.group is not None or not set(self.kinds).isdisjoint("EGMSCDR")


def _excluded(row: Row, mode: Mode) -> str | None:
    reasons = EXCLUDED if mode == "paged" else EXCLUDED | _LEAVES_MODE
    return reasons.get(row.mnemonic) or reasons.get(row.instruction)


@functools.cache
def forms(mode: Mode) -> tuple[Form, ...]:
    """Every form of the table that can be compared in a mode, as often as it should be drawn."""
    compared = [row for row in ROWS if _excluded(row, mode) is None]
    if mode == "paged":
        compared += [row for row in compared if row.instruction in _OF_PROTECTION] * 6
    return tuple(map(_form, compared))


@functools.cache
def _rows() -> dict[tuple[bytes, int | None], Row]:
    """By opcode, and the ModRM reg field where it is part of it."""
    return {
        (bytes((*row.bytes[:-1], row.bytes[-1] + variant)), row.extension): row
        for row in reversed(ROWS)
        for variant in range(row.span)
    }


def row_of(code: bytes) -> Row | None:
    """The row of the table that the first instruction of `code` belongs to, or None."""
    plain = code.lstrip(bytes(PREFIXES))
    size = 2 if plain[:1] == b"\x0f" else 1
    group = plain[size] >> 3 & 7 if len(plain) > size else None
    keys = ((plain[:3], None), (plain[:size], group), (plain[:size], None))
    return next((_rows()[key] for key in keys if key in _rows()), None)


def why_excluded(mode: Mode, code: bytes) -> str | None:
    """Why the first instruction of `code` says nothing, when it is one of those excluded."""
    row = row_of(code)
    return None if row is None else _excluded(row, mode)


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
        "privileged" in row.properties,
    )
