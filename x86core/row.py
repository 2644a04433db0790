"""A row of the instruction table (isa.py) and what follows from its columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

#: Operands that are a segment register by name.
SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS")
REGISTER_FORMS = {"E": "r", "EG": "rr", "GE": "rr", "EI": "ri"}
MEMORY_FORMS = {"E": "m", "M": "m", "EG": "mr", "MG": "mr", "GE": "rm", "GM": "rm", "EI": "mi"}


@dataclass(frozen=True)
class Row:
    """One opcode form, as the table has it."""

    opcode: str
    instruction: str
    handler: str
    properties: frozenset[str]

    @property
    def mnemonic(self) -> str:
        """As the manual has it; Jcc and SETcc stand for sixteen."""
        return self.instruction.split()[0]

    @property
    def operands(self) -> tuple[str, ...]:
        """Operand codes of the opcode map, destination first."""
        _, _, operands = self.instruction.partition(" ")
        return tuple(operands.split(",")) if operands else ()

    @cached_property
    def bytes(self) -> tuple[int, ...]:
        """The opcode's fixed bytes."""
        digits = self.opcode.partition("/")[0].partition("+")[0]
        return tuple(bytes.fromhex(digits))

    @property
    def extension(self) -> int | None:
        """The ModRM reg field that selects this row, or None."""
        _, slash, digit = self.opcode.partition("/")
        return int(digit) if slash else None

    @property
    def span(self) -> int:
        """How many opcodes the row stands for: 8 with `+r`, 16 with `+c`, else 1."""
        return {"+r": 8, "+c": 16}.get(self.opcode[-2:], 1)

    @property
    def has_condition(self) -> bool:
        """Whether the low four bits of the opcode are a condition."""
        return self.span == 16

    @cached_property
    def shape(self) -> str:
        """The operands that handlers tell apart: E, G (any sure register), M (sure memory), I."""
        kinds = {"E": "E", "G": "G", "Z": "G", "R": "E", "M": "M", "O": "M", "I": "I", "1": "I"}
        codes = (operand for operand in self.operands if operand not in SEGMENTS)
        shape = "".join("G" if o in ("AL", "eAX") else kinds.get(o[0], "") for o in codes)
        if self.mnemonic in ("MOVS", "CMPS", "STOS", "LODS", "SCAS"):
            return ""
        return {"GEI": "GE", "EGI": "EG", "IG": "GI", "I": "", "II": ""}.get(shape, shape)

    @property
    def register_form(self) -> str | None:
        """Form of the handler when no operand is in memory; None when one always is."""
        if "M" in self.shape:
            return None
        return REGISTER_FORMS.get(
            self.shape.replace("GG", "EG").replace("GI", "EI"), "r" if self.shape else ""
        )

    @property
    def memory_form(self) -> str | None:
        """Form of the handler when the operand that may be in memory is; None when none may."""
        if (self.operands and self.operands[0] == "Rd") or self.operands[-1:] == ("Rd",):
            return None
        return MEMORY_FORMS.get(self.shape)

    @property
    def widths(self) -> tuple[int, ...]:
        """Operand widths in bits, or (0,) where there is but one meaning."""
        codes = [operand for operand in self.operands if operand[0] not in "JA" or operand == "AL"]
        if (
            "sized" in self.properties
            or "eAX" in codes
            or any(code.endswith("v") for code in codes)
        ):
            return (16, 32)
        if self.operands == ("Jv",) and "stack" in self.properties:
            return (16, 32)
        if "AL" in codes or any(code.endswith("b") for code in codes):
            return (8,)
        if any(code.endswith("w") for code in codes):
            return (16,)
        return (0,)
