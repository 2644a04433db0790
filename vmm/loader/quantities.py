"""Sizes and addresses as a user gives them."""

from __future__ import annotations

import re

from vmm.loader.errors import LoadError
from x86core import Memory

#: A vCPU starts in real mode, where a segment of 0xFFFF is the highest.
REAL_MODE_END = 1 << 20

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 65536, "64K", "16M" or "1G" (powers of 1024). Raises LoadError."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"([+-]?\d{1,20})\s*([KMG]?)(?:i?B)?", size.strip(), re.IGNORECASE)
    if match is None:
        raise LoadError(f"{size!r} is no size: give bytes, or a number with K, M or G, such as 16M")
    return int(match[1]) * _UNITS[match[2].upper()]


def parse_address(address: int | str) -> int:
    """An address such as 0x7C00 or 31744. Raises LoadError when no guest can start there."""
    try:
        value = int(address, 0) if isinstance(address, str) else address
    except ValueError:
        raise LoadError(f"{address!r} is no address: give a number such as 0x7C00") from None
    if not 0 <= value < REAL_MODE_END:
        raise LoadError(
            f"load address {address} is outside the first MiB, where a vCPU can start in real mode"
        )
    return value


def make_memory(size: int | str, *, virtual_time: bool = False) -> Memory:
    """Guest RAM. Raises LoadError for a size that cannot be had."""
    try:
        return Memory(parse_size(size), virtual_time=virtual_time)
    except (LoadError, MemoryError, ValueError) as error:
        raise LoadError(f"memory {size}: {error}") from None
