"""The guest programs that the core is measured with, and how they lie in memory.

Code that takes a size in ECX and ends in HLT; bench/loops/*.S says what each does, and bench.mixed
for the one that is generated.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench import mixed
from vmm import assemble

#: Guest RAM in bytes, the address of the code, and the top of the stack; in real mode that is below
#: the code.
RAM_SIZE = 4 << 20
CODE_ADDRESS = 0x7C00
STACK_TOP = 0x90000
REAL_MODE_STACK_TOP = 0x7C00

_FOLDER = Path(__file__).resolve().parent / "loops"

#: Where copy.S and movsd.S find what they copy.
_DATA_ADDRESS, _DATA_SIZE = 0x100000, 0x10000


@dataclass(frozen=True, slots=True)
class Loop:
    """A program and the ECX with which it retires about 1e8 instructions.

    It starts in flat 32-bit mode; with `real_mode`, as 16-bit code at CS = 0. `repetitions`: of its
    string instruction in one turn of the loop, four bytes each.
    """

    name: str
    summary: str
    size: int
    real_mode: bool = False
    repetitions: int = 0

    @property
    def stack_top(self) -> int:
        """ESP at the start."""
        return REAL_MODE_STACK_TOP if self.real_mode else STACK_TOP

    @property
    def string_bytes(self) -> int:
        """What the string instruction moves in the whole run."""
        return 4 * self.repetitions * self.size


#: Those that the mean is taken over.
LOOPS = (
    Loop("alu", "register arithmetic", 10_000_000),
    Loop("copy", "64 KiB copy with load and store", 1_220),
    Loop("sieve", "sieve over bytes", 78),
    Loop("fib", "recursive fib", 33),
)

#: Wider ones: other modes and operand sizes, and more code than loops have.
PROGRAMS = (
    Loop("real16", "16-bit real mode", 73, real_mode=True),
    Loop("mixed", "large mixed program", 3_900),
)

#: A repeated string instruction over 64 KiB, again and again: 131 MB, long enough for the core and
#: not too long for its peer.
STRINGS = (
    Loop("movsd", "REP MOVSD", 2_000, repetitions=0x4000),
    Loop("stosd", "REP STOSD", 2_000, repetitions=0x4000),
)


@cache
def code(name: str) -> bytes:
    """The flat image of a program. Raises vmm.AssemblyError without an assembler."""
    source = mixed.source() if name == "mixed" else _FOLDER / f"{name}.S"
    return assemble(source, origin=CODE_ADDRESS)


@cache
def image(name: str) -> bytes:
    """All of the guest's RAM at the start: the code, and data that no two runs differ in."""
    ram = bytearray(RAM_SIZE)
    program, data = code(name), random.Random(0).randbytes(_DATA_SIZE)
    ram[CODE_ADDRESS : CODE_ADDRESS + len(program)] = program
    ram[_DATA_ADDRESS : _DATA_ADDRESS + _DATA_SIZE] = data
    return bytes(ram)
