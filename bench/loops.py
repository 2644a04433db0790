"""The guest programs that the core is measured with, and how they lie in memory.

Flat 32-bit code that takes a size in ECX and ends in HLT; bench/loops/*.S says what each does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vmm import assemble

#: Guest RAM in bytes, the address of the code, and the top of the stack.
RAM_SIZE = 4 << 20
CODE_ADDRESS = 0x7C00
STACK_TOP = 0x90000

_FOLDER = Path(__file__).resolve().parent / "loops"

#: Where copy.S finds what it copies.
_DATA_ADDRESS, _DATA_SIZE = 0x100000, 0x10000


@dataclass(frozen=True, slots=True)
class Loop:
    """A program and the ECX with which it retires about 1e8 instructions."""

    name: str
    summary: str
    size: int


LOOPS = (
    Loop("alu", "register arithmetic", 10_000_000),
    Loop("copy", "64 KiB copy with load and store", 1_220),
    Loop("sieve", "sieve over bytes", 78),
    Loop("fib", "recursive fib", 33),
)


@cache
def code(name: str) -> bytes:
    """The flat image of bench/loops/<name>.S. Raises vmm.AssemblyError without an assembler."""
    return assemble(_FOLDER / f"{name}.S", origin=CODE_ADDRESS)


@cache
def image(name: str) -> bytes:
    """All of the guest's RAM at the start: the code, and data that no two runs differ in."""
    ram = bytearray(RAM_SIZE)
    program, data = code(name), random.Random(0).randbytes(_DATA_SIZE)
    ram[CODE_ADDRESS : CODE_ADDRESS + len(program)] = program
    ram[_DATA_ADDRESS : _DATA_ADDRESS + _DATA_SIZE] = data
    return bytes(ram)
