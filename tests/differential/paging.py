"""Page tables of paged mode, and what a processor finds in them (SDM vol. 3, chapter 4)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.differential.layout import (
    CR0_AT,
    CR3_AT,
    CR4_AT,
    DATA,
    DATA_END,
    DIRECTORY,
    HIDDEN,
    RAM,
)

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = (1 << b for b in (0, 1, 2, 5, 6, 7, 8))
PAGING, WRITE_PROTECT = 1 << 31, 1 << 16
#: Of a large page's entry, where there is neither PAT nor PSE-36.
LARGE_RESERVED: Final = 0x3F_F000
PAGE_SIZE_EXTENSIONS, PAGE_GLOBAL = 1 << 4, 1 << 7

#: Page tables behind the directory: of linear 0 where everything lies, and of ALIASES and the top.
IDENTITY_TABLE: Final = DIRECTORY + 0x1000
ALIAS_TABLE: Final = DIRECTORY + 0x2000
#: Another directory with the same entries, for MOV to CR3.
OTHER_DIRECTORY: Final = DIRECTORY + 0x3000
PAGE_TABLES: Final = range(DIRECTORY, OTHER_DIRECTORY + 0x1000)
#: Linear addresses that lead to RAM as well: by 4 KiB pages, by a large one, by a supervisor's.
ALIASES: Final = (0x40_0000, 0x80_0000, 0xC0_0000, 0xFFC0_0000)
#: The page tables and all that exceptions need: a supervisor's, and marked already.
_SYSTEM_PAGES: Final = range(DIRECTORY >> 12, 0x10_0000 >> 12)


def store_tables(image: NDArray[np.uint8]) -> None:
    """Put both directories and the page tables into an image of RAM."""
    used = PRESENT | WRITABLE | USER | ACCESSED
    table = [number << 12 | used & ~ACCESSED for number in range(RAM >> 12)]
    aliases = list(table)
    for number in _SYSTEM_PAGES:
        table[number] = number << 12 | PRESENT | WRITABLE | ACCESSED | DIRTY
    _store(image, IDENTITY_TABLE, table)
    data = range(DATA >> 12, DATA_END >> 12)
    for number in data:
        aliases[number] = aliases[number] & 0xFFF | data[(number * 7) % len(data)] << 12
    _store(image, ALIAS_TABLE, aliases)
    for directory in (DIRECTORY, OTHER_DIRECTORY):
        _store(image, directory, [IDENTITY_TABLE | used])
        entries = (ALIAS_TABLE | used, LARGE | used, LARGE | GLOBAL | used & ~USER)
        for alias, entry in zip(ALIASES, (*entries, ALIAS_TABLE | used), strict=True):
            _store(image, directory + (alias >> 20), [entry])


def _store(image: NDArray[np.uint8], at: int, entries: list[int]) -> None:
    data = struct.pack(f"<{len(entries)}I", *entries)
    image[at : at + len(data)] = np.frombuffer(data, np.uint8)


class Translation(NamedTuple):
    """Where a linear address leads. `physical` is None when an entry on the way is not present."""

    physical: int | None
    #: Physical addresses of the entries that say so, the directory's first.
    entries: tuple[int, ...] = ()
    #: The rights bits that all of the entries have.
    rights: int = WRITABLE | USER

    def allows(self, *, user: bool, write: bool, write_protect: bool) -> bool:
        """Whether an access of this kind may be made (SDM vol. 3, 4.6)."""
        if self.physical is None or (user and not self.rights & USER):
            return False
        return bool(self.rights & WRITABLE or not write or not (user or write_protect))


def translate(ram: NDArray[np.uint8], registers: tuple[int, ...], linear: int) -> Translation:
    """Walk the page tables as they are; nothing is marked."""
    linear &= 0xFFFF_FFFF
    if not registers[CR0_AT] & PAGING:
        return Translation(linear)
    at = (registers[CR3_AT] & ~0xFFF) + (linear >> 20 & 0xFFC)
    directory = _entry(ram, at)
    if not directory & PRESENT:
        return Translation(None, (at,))
    if directory & LARGE and registers[CR4_AT] & PAGE_SIZE_EXTENSIONS:
        if directory & LARGE_RESERVED:
            return Translation(None, (at,))
        return Translation(directory & 0xFFC0_0000 | linear & 0x3F_FFFF, (at,), directory)
    inner = (directory & ~0xFFF) + (linear >> 10 & 0xFFC)
    entry = _entry(ram, inner)
    physical = entry & ~0xFFF | linear & 0xFFF if entry & PRESENT else None
    return Translation(physical, (at, inner), directory & entry)


def _entry(ram: NDArray[np.uint8], at: int) -> int:
    """Where there is no RAM all bits are ones, as on a bus."""
    return int.from_bytes(ram[at : at + 4].tobytes(), "little") if at + 4 <= RAM else 0xFFFF_FFFF


def physical(ram: NDArray[np.uint8], registers: tuple[int, ...], linear: int) -> int:
    """The physical address in paged mode; in others, and for pages not there, the linear one."""
    if len(registers) == HIDDEN:
        return linear
    found = translate(ram, registers, linear).physical
    return linear if found is None else found


def read_linear(
    ram: NDArray[np.uint8], registers: tuple[int, ...], linear: int, size: int
) -> bytes:
    """The bytes from a linear address on, as many as are in RAM and in pages that are there."""
    found = b""
    while len(found) < size:
        here = linear + len(found) & 0xFFFF_FFFF
        place = translate(ram, registers, here).physical
        part = min(size - len(found), 0x1000 - (here & 0xFFF))
        if place is None or place + part > RAM:
            break
        found += ram[place : place + part].tobytes()
    return found
