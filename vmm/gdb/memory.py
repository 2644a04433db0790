"""Guest memory at linear addresses, through the vCPU's page tables, page by page.

A debugger reads and writes whatever is mapped, whatever the page's rights are, and marks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from x86core import VCPU

_PAGE_SIZE = 4096
_LINEAR_END = 1 << 32


def _pieces(vcpu: VCPU, address: int, length: int) -> Iterator[tuple[int, int]]:
    """(physical address, bytes) of each page's part, up to the first one that is not RAM."""
    end = min(address + length, _LINEAR_END)
    while address < end:
        size = min(end - address, _PAGE_SIZE - address % _PAGE_SIZE)
        where = vcpu.translate(address)
        if not where.valid or where.physical_address + size > vcpu.memory.size:
            return
        yield where.physical_address, size
        address += size


def read(vcpu: VCPU, address: int, length: int) -> bytes:
    """As much as there is, from the first byte on; nothing when that is not there."""
    return b"".join(vcpu.memory.read(at, size) for at, size in _pieces(vcpu, address, length))


def write(vcpu: VCPU, address: int, data: bytes) -> bool:
    """Store all of `data`, or nothing: False when some of it has no place."""
    pieces = list(_pieces(vcpu, address, len(data)))
    if sum(size for _, size in pieces) != len(data):
        return False
    done = 0
    for at, size in pieces:
        vcpu.memory.write(at, data[done : done + size])
        done += size
    return True
