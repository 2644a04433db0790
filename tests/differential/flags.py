"""Which flags an instruction leaves undefined (Intel SDM vol. 2, "Flags Affected")."""

from __future__ import annotations

import re

from tests.differential.disassembly import Mode, decode, decode_one
from tests.differential.layout import ECX

CF, PF, AF, ZF, SF, TF, IF, DF, OF = (1 << bit for bit in (0, 2, 4, 6, 7, 8, 9, 10, 11))
ARITHMETIC = CF | PF | AF | ZF | SF | OF
NT = 1 << 14
#: Everything a comparison looks at: RF and VM are no part of what an instruction leaves behind.
COMPARED = ARITHMETIC | TF | IF | DF | 0x7000 | 1 << 18 | 1 << 21

_UNDEFINED = {
    **dict.fromkeys(("and", "or", "xor", "test"), AF),
    **dict.fromkeys(("aaa", "aas"), OF | SF | ZF | PF),
    **dict.fromkeys(("aad", "aam"), OF | AF | CF),
    **dict.fromkeys(("daa", "das"), OF),
    **dict.fromkeys(("mul", "imul"), SF | ZF | AF | PF),
    **dict.fromkeys(("div", "idiv"), ARITHMETIC),
    **dict.fromkeys(("bsf", "bsr"), CF | OF | SF | AF | PF),
    **dict.fromkeys(("bt", "bts", "btr", "btc"), OF | SF | AF | PF),
}
_SHIFTS = {"shl", "sal", "shr", "sar"}
_ROTATES = {"rol", "ror", "rcl", "rcr"}
_DOUBLE_SHIFTS = {"shld", "shrd"}
#: What leaves every arithmetic flag defined, whatever it was before.
_DEFINES_ALL = {"add", "adc", "sub", "sbb", "cmp", "neg", "xadd", "cmpxchg", "popf", "popfd"}
_WIDTHS = {"byte": 8, "word": 16, "dword": 32}
_WIDTH_OF_REGISTER = {8: r"[abcd][lh]", 32: r"e\w\w"}


def _width(operands: str) -> int:
    """Of the first operand, in bits."""
    first = operands.split(",")[0].strip()
    if " ptr" in first:
        return _WIDTHS[first.split()[0]]
    for bits, pattern in _WIDTH_OF_REGISTER.items():
        if re.fullmatch(pattern, first):
            return bits
    return 16


def _count(operands: str, registers: tuple[int, ...]) -> int:
    """The last operand of a shift, as the processor masks it."""
    last = operands.rsplit(",", 1)[-1].strip()
    if last == "cl":
        return registers[ECX] & 0x1F
    return int(last, 0) & 0x1F if "," in operands else 1


def undefined_flags(mode: Mode, code: bytes, registers: tuple[int, ...]) -> int:
    """The flags that may be anything after the first instruction of `code`."""
    decoded = decode_one(mode, code)
    if decoded is None:
        return 0
    _, name, operands = decoded
    name = name.rpartition(" ")[2]
    if name in _SHIFTS | _ROTATES | _DOUBLE_SHIFTS:
        return _undefined_by_shift(name, operands, _count(operands, registers))
    return _UNDEFINED.get(name, 0)


def _undefined_by_shift(name: str, operands: str, count: int) -> int:
    width = _width(operands)
    undefined = OF if count > 1 else 0
    if count and name not in _ROTATES:
        undefined |= AF
    if name in _DOUBLE_SHIFTS and count > width:
        return ARITHMETIC
    if name in {"shl", "sal", "shr"} and count >= width:
        undefined |= CF
    return undefined


def undefined_after(mode: Mode, code: bytes, registers: tuple[int, ...]) -> int:
    """The flags that may be undefined when straight-line code has run.

    A fast guess that never finds too few for code that runs through: CL may hold any count, and
    only an instruction that defines all flags ends what was undefined before it.
    """
    undefined = 0
    for _, name, operands in decode(mode, code):
        name = name.rpartition(" ")[2]
        if name in _DEFINES_ALL:
            undefined = 0
        elif name in _DOUBLE_SHIFTS and operands.endswith("cl"):
            undefined |= ARITHMETIC
        elif name in _SHIFTS | _ROTATES and operands.endswith("cl"):
            undefined |= CF | AF | OF
        elif name in _SHIFTS | _ROTATES | _DOUBLE_SHIFTS:
            undefined |= _undefined_by_shift(name, operands, _count(operands, registers))
        else:
            undefined |= _UNDEFINED.get(name, 0)
    return undefined
