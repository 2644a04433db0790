"""The boot information: what a Multiboot kernel finds at EBX, and the modules behind it.

Source: Multiboot Specification 0.6.96, section 3.3.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import LittleEndianStructure, c_uint32, c_uint64, sizeof
from dataclasses import dataclass
from typing import NamedTuple

from vmm.loader.errors import LoadError
from vmm.loader.guest import CONVENTIONAL_END, Guest
from vmm.loader.image import Image
from x86core import Memory

#: Low memory from here on is for the structures: a kernel may want to keep what is below, where
#: a PC has its interrupt vectors and BIOS data.
_LOWEST = 0x1000
_HIGH_MEMORY = 1 << 20
_PAGE = 4096

#: Which of the fields are valid.
_MEMORY, _COMMAND_LINE, _MODULES = 1 << 0, 1 << 2, 1 << 3
_MEMORY_MAP, _LOADER_NAME = 1 << 6, 1 << 9

_AVAILABLE, _RESERVED = 1, 2

LOADER_NAME = "x86core vmm"


class Information(LittleEndianStructure):
    """The structure itself; sizes in KiB, the rest addresses and lengths in bytes."""

    _pack_ = 1
    _fields_ = (
        ("flags", c_uint32),
        ("mem_lower", c_uint32),
        ("mem_upper", c_uint32),
        ("boot_device", c_uint32),
        ("cmdline", c_uint32),
        ("mods_count", c_uint32),
        ("mods_addr", c_uint32),
        ("syms", c_uint32 * 4),
        ("mmap_length", c_uint32),
        ("mmap_addr", c_uint32),
        ("drives_length", c_uint32),
        ("drives_addr", c_uint32),
        ("config_table", c_uint32),
        ("boot_loader_name", c_uint32),
        ("apm_table", c_uint32),
        ("vbe", c_uint32 * 4),
        ("framebuffer", c_uint32 * 7),
    )


class MemoryMapEntry(LittleEndianStructure):
    """A range of physical memory; `size` is that of the rest of the entry."""

    _pack_ = 1
    _fields_ = (
        ("size", c_uint32),
        ("base_addr", c_uint64),
        ("length", c_uint64),
        ("type", c_uint32),
    )


class ModuleEntry(LittleEndianStructure):
    """Where a module is, and its string."""

    _pack_ = 1
    _fields_ = (
        ("mod_start", c_uint32),
        ("mod_end", c_uint32),
        ("string", c_uint32),
        ("reserved", c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Module:
    """A file that is loaded beside the kernel, and the string by which the kernel knows it."""

    string: str
    image: Image


def write_boot_information(
    guest: Guest, memory: Memory, command_line: str, modules: Sequence[Module]
) -> int:
    """Put the modules and the structures into memory that `guest` leaves free; their address.

    Raises LoadError when there is no room, and has then written nothing.
    """
    loaded = _places(guest, memory.size, modules)
    size = len(_structures(0, memory.size, command_line, loaded))
    address = _first_fit(size, 4, _LOWEST, min(memory.size, CONVENTIONAL_END), guest)
    if address is None:
        raise LoadError(
            f"{guest.path} leaves no room for {size:,} bytes of boot information below 640 KiB:"
            " link it higher, give more memory or a shorter command line"
        )
    for entry, module in zip(loaded, modules, strict=True):
        module.image.copy(0, module.image.size, memory, entry.start)
    memory.write(address, _structures(address, memory.size, command_line, loaded))
    return address


def memory_map(ram: int) -> list[tuple[int, int, int]]:
    """(base, length, type) of each range of a PC with so much RAM; type 1 is free for use."""
    ranges = (
        (0, CONVENTIONAL_END, _AVAILABLE),
        (CONVENTIONAL_END, _HIGH_MEMORY, _RESERVED),
        (_HIGH_MEMORY, ram, _AVAILABLE),
    )
    return [(base, min(end, ram) - base, kind) for base, end, kind in ranges if base < ram]


class _Place(NamedTuple):
    start: int
    end: int
    string: str


def _places(guest: Guest, ram: int, modules: Sequence[Module]) -> list[_Place]:
    """Where modules go: in order, on pages of their own, above the first MiB and the kernel."""
    places: list[_Place] = []
    free = max(_HIGH_MEMORY, *(segment.end for segment in guest.segments))
    for module in modules:
        start = _up(free, _PAGE)
        free = start + module.image.size
        if free > ram:
            raise LoadError(
                f"module {module.image.path} does not fit: it would take {start:#x}-{free:#x}, and"
                f" RAM ends at {ram:#x}: give more memory"
            )
        places.append(_Place(start, free, module.string))
    return places


def _structures(address: int, ram: int, command_line: str, modules: Sequence[_Place]) -> bytes:
    """The boot information for `address`, one piece: structures, then strings."""
    ranges = memory_map(ram)
    map_at = address + sizeof(Information)
    modules_at = map_at + len(ranges) * sizeof(MemoryMapEntry)
    strings_at = modules_at + len(modules) * sizeof(ModuleEntry)
    strings = b""

    def string(text: str) -> int:
        nonlocal strings
        at = strings_at + len(strings)
        strings += os.fsencode(text) + b"\0"
        return at

    information = Information(
        flags=_MEMORY | _COMMAND_LINE | _MODULES | _MEMORY_MAP | _LOADER_NAME,
        mem_lower=min(ram, CONVENTIONAL_END) // 1024,
        mem_upper=max(0, ram - _HIGH_MEMORY) // 1024,
        cmdline=string(command_line),
        mods_count=len(modules),
        mods_addr=modules_at,
        mmap_length=len(ranges) * sizeof(MemoryMapEntry),
        mmap_addr=map_at,
        boot_loader_name=string(LOADER_NAME),
    )
    entries = [
        MemoryMapEntry(sizeof(MemoryMapEntry) - 4, base, length, kind)
        for base, length, kind in ranges
    ]
    loaded = [ModuleEntry(place.start, place.end, string(place.string)) for place in modules]
    return b"".join(map(bytes, [information, *entries, *loaded])) + strings


def _first_fit(size: int, alignment: int, low: int, high: int, guest: Guest) -> int | None:
    """The lowest address in low..high with so much memory that the guest's file leaves free."""
    address = low
    for segment in sorted(guest.segments, key=lambda segment: segment.address):
        if address + size > segment.address:
            address = max(address, _up(segment.end, alignment))
    return address if address + size <= high else None


def _up(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment
