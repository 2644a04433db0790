"""What the user gives, a guest and numbers, checked and turned into what a machine needs."""

from __future__ import annotations

import re
from pathlib import Path

from vmm.asm import BOOT_ADDRESS, GUESTS, assemble
from x86core import Memory

#: What a guest's file name ends in: source text, and a flat image.
_SOURCE, _FLAT = ".S", ".bin"

#: A vCPU starts in real mode, where a segment of 0xFFFF is the highest.
_REAL_MODE_END = 1 << 20

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class LoadError(ValueError):
    """The guest or its memory cannot be had; the text says why and what to do."""


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 65536, "64K", "16M" or "1G" (powers of 1024). Raises LoadError."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"([+-]?\d+)\s*([KMG]?)(?:i?B)?", size.strip(), re.IGNORECASE)
    if match is None:
        raise LoadError(f"{size!r} is no size: give bytes, or a number with K, M or G, such as 16M")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_address(address: int | str) -> int:
    """An address such as 0x7C00 or 31744. Raises LoadError when no guest can start there."""
    try:
        value = int(address, 0) if isinstance(address, str) else address
    except ValueError:
        raise LoadError(f"{address!r} is no address: give a number such as 0x7C00") from None
    if not 0 <= value < _REAL_MODE_END:
        raise LoadError(
            f"load address {address} is outside the first MiB, where a vCPU can start in real mode"
        )
    return value


def make_memory(size: int | str) -> Memory:
    """Guest RAM. Raises LoadError for a size that cannot be had."""
    try:
        return Memory(parse_size(size))
    except (LoadError, MemoryError, ValueError) as error:
        raise LoadError(f"memory {size}: {error}") from None


def shipped_guests() -> list[str]:
    """The names by which the guests of this package can be loaded."""
    return sorted(source.stem for source in GUESTS.glob("*.S"))


def load_guest(guest: str | Path, memory: Memory, at: int | str | None = None) -> tuple[int, int]:
    """Put a guest into memory; the real-mode cs and ip of its first byte, where it starts.

    `guest` is a .S file, a flat .bin file, or the bare name of a shipped guest. `at` is the
    physical address of its first byte, the boot sector's 0x7C00 if None. A .S file is assembled for
    that address. The guest starts at 0:at in the first 64 KiB, and above at the segment at >> 4,
    where labels, which are linear addresses, no longer are offsets.

    Raises LoadError, or AssemblyError when a .S file does not assemble.
    """
    address = BOOT_ADDRESS if at is None else parse_address(at)
    room = memory.size - address
    if room <= 0:
        raise LoadError(
            f"load address {address:#x} is outside the guest's RAM, which ends at {memory.size:#x}:"
            " give a lower address or more memory"
        )
    path = _find(guest, address)
    try:
        image = _read(path, address, room + 1)
    except OSError as error:
        raise LoadError(f"cannot read guest {path}: {error.strerror}") from None
    if not image:
        raise LoadError(f"guest {path} is empty: there is nothing to run")
    if len(image) > room:
        raise LoadError(
            f"guest {path} does not fit into the {room} bytes from {address:#x} to the end of RAM:"
            " give more memory"
        )
    memory.write(address, image)
    return (0, address) if address <= 0xFFFF else (address >> 4, address & 0xF)


def _find(guest: str | Path, address: int) -> Path:
    """The file to load: the path itself, or the best one that there is of a shipped guest."""
    path = Path(guest)
    if path.suffix in (_SOURCE, _FLAT):
        return path
    source = GUESTS / f"{guest}{_SOURCE}"
    if str(guest) not in shipped_guests():
        raise LoadError(
            f"guest {str(guest)!r} is neither a {_SOURCE} nor a {_FLAT} file, nor a shipped guest"
            f" (those are: {', '.join(shipped_guests())})"
        )
    built = source.with_suffix(_FLAT)
    fresh = built.exists() and built.stat().st_mtime >= source.stat().st_mtime
    return built if fresh and address == BOOT_ADDRESS else source


def _read(path: Path, address: int, limit: int) -> bytes:
    """The image in a file, of a flat one no more than `limit` bytes."""
    if path.suffix == _SOURCE:
        return assemble(path, origin=address)
    with path.open("rb") as file:
        return file.read(limit)
