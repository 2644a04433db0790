"""What the bytes of an instruction say, by capstone."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final, Literal, get_args

import capstone

Mode = Literal["real", "flat32", "paged"]
MODES: Final = get_args(Mode)

PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_STRING_OPCODES: Final = frozenset({*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)})


@functools.cache
def _decoder(mode: Mode) -> capstone.Cs:
    bits = capstone.CS_MODE_16 if mode == "real" else capstone.CS_MODE_32
    return capstone.Cs(capstone.CS_ARCH_X86, bits)


def decode(mode: Mode, code: bytes, count: int = 0) -> Iterator[tuple[int, str, str]]:
    """Length, mnemonic and operands of `count` instructions, or of all up to one that is none."""
    for _, size, name, operands in _decoder(mode).disasm_lite(code, 0, count):
        yield size, name, operands


def decode_one(mode: Mode, code: bytes) -> tuple[int, str, str] | None:
    """Length, mnemonic and operands of the first instruction, or None when it is none.

    Capstone does not decode REP before some instructions that ignore it: it is left out then.
    """
    for left_out in (b"", b"\xf2", b"\xf3", b"\xf2\xf3"):
        plain = without(code, left_out)
        for size, name, operands in decode(mode, plain, 1):
            return size + len(code) - len(plain), name, operands
    return None


def without(code: bytes, prefixes: bytes) -> bytes:
    """The code with some of the prefixes before its first opcode left out."""
    opcode_at = len(code) - len(code.lstrip(bytes(PREFIXES)))
    return code[:opcode_at].translate(None, prefixes) + code[opcode_at:]


def disassemble(mode: Mode, code: bytes) -> str:
    """The first instruction of `code` in Intel syntax, or its bytes when it is none."""
    decoded = decode_one(mode, code)
    return f"{decoded[1]} {decoded[2]}".strip() if decoded else f".byte {code.hex(' ')}"


def mnemonic(mode: Mode, code: bytes) -> str:
    """The name of the first instruction with its prefixes, or '.byte' when it is none."""
    decoded = decode_one(mode, code)
    return decoded[1] if decoded else ".byte"


def length(mode: Mode, code: bytes) -> int:
    """Bytes of the first instruction; all there are when it is none."""
    decoded = decode_one(mode, code)
    return decoded[0] if decoded else len(code)


def has_prefix(code: bytes, prefixes: bytes) -> bool:
    """Whether one of `prefixes` stands before the opcode."""
    for byte in code:
        if byte not in PREFIXES:
            return False
        if byte in prefixes:
            return True
    return False


def opcode(code: bytes) -> tuple[int | None, int | None]:
    """The first byte behind the prefixes and the one after it."""
    rest = code.lstrip(bytes(PREFIXES))
    return (rest[0] if rest else None), (rest[1] if len(rest) > 1 else None)


def is_halt(code: bytes) -> bool:
    """Whether the instruction is HLT."""
    return opcode(code)[0] == 0xF4


def is_repeated_string(code: bytes) -> bool:
    """Whether the instruction is a string operation with REP, REPE or REPNE."""
    return opcode(code)[0] in _STRING_OPCODES and has_prefix(code, b"\xf2\xf3")
