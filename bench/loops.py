"""The guest programs that the core is measured with, and how they lie in memory.

Code that takes a size in ECX and ends in HLT; bench/loops/*.S says what each does, and bench.mixed
for the one that is generated.
"""

from __future__ import annotations

import random
import struct
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

#: Where loops under paging have their page directory; behind it lies the one page table.
PAGE_DIRECTORY = 0x3F0000

#: Sizes of pages.
SMALL_PAGE, LARGE_PAGE = 4 << 10, 4 << 20

# Bits of their entries (SDM vol. 3, 4.3). Accessed is set ahead: Unicorn sets it in the last page
# too, where no program goes. Dirty is left to the engines.
_WRITABLE_AND_ACCESSED, _LARGE = 0x023, 0x080

_FOLDER = Path(__file__).resolve().parent / "loops"

#: Where copy.S and movsd.S find what they copy.
_DATA_ADDRESS, _DATA_SIZE = 0x100000, 0x10000


@dataclass(frozen=True, slots=True)
class Loop:
    """A program and the ECX with which it retires about 1e8 instructions.

    It starts in flat 32-bit mode; with `real_mode`, as 16-bit code at CS = 0. `repetitions`: of its
    string instruction in one turn of the loop, four bytes each. `page_size`: of the pages by which
    all of RAM is mapped to where it is, SMALL_PAGE or LARGE_PAGE; 0 for no paging.
    """

    name: str
    summary: str
    size: int
    real_mode: bool = False
    repetitions: int = 0
    page_size: int = 0

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
def image(name: str, page_size: int = 0) -> bytes:
    """All of the guest's RAM at the start: the code, and data that no two runs differ in.

    With page tables if there is a `page_size`.
    """
    ram = bytearray(RAM_SIZE)
    program, data = code(name), random.Random(0).randbytes(_DATA_SIZE)
    ram[CODE_ADDRESS : CODE_ADDRESS + len(program)] = program
    ram[_DATA_ADDRESS : _DATA_ADDRESS + _DATA_SIZE] = data
    if page_size:
        struct.pack_into("<2048I", ram, PAGE_DIRECTORY, *_page_tables(page_size))
    return bytes(ram)


def _page_tables(page_size: int) -> list[int]:
    """The directory, of which one entry is present, and the table that it may point to."""
    table = PAGE_DIRECTORY + SMALL_PAGE
    first = _LARGE if page_size == LARGE_PAGE else table
    entries = [page | _WRITABLE_AND_ACCESSED for page in range(0, RAM_SIZE, SMALL_PAGE)]
    return [first | _WRITABLE_AND_ACCESSED, *[0] * 1023, *entries]
