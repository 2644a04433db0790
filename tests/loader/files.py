"""Guest files to load, built byte by byte: valid ones, which tests then damage."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

MULTIBOOT_MAGIC = 0x1BADB002
ADDRESSES = 1 << 16

ELF_HEADER = struct.Struct("<4s5B7x2H5I6H")
PROGRAM_HEADER = struct.Struct("<8I")
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4


@dataclass
class Part:
    """A program header and its bytes; None is what a linker would fill in."""

    address: int
    data: bytes
    memory_size: int | None = None
    virtual: int | None = None
    kind: int = PT_LOAD
    offset: int | None = None
    file_size: int | None = None


@dataclass
class Elf:
    """An ELF file; every number can be given another value."""

    parts: list[Part] = field(default_factory=lambda: [Part(0x100000, b"\xf4" * 16)])
    entry: int = 0x100000
    magic: bytes = b"\x7fELF"
    elf_class: int = 1
    data: int = 1
    kind: int = ET_EXEC
    machine: int = 3
    program_headers: int = ELF_HEADER.size
    program_header_size: int = PROGRAM_HEADER.size
    count: int | None = None

    def build(self) -> bytes:
        count = len(self.parts) if self.count is None else self.count
        header = ELF_HEADER.pack(
            *(self.magic, self.elf_class, self.data, 1, 0, 0, self.kind, self.machine, 1),
            *(self.entry, self.program_headers, 0, 0, ELF_HEADER.size),
            *(self.program_header_size, count, 0, 0, 0),
        )
        headers, contents = b"", b""
        first = ELF_HEADER.size + PROGRAM_HEADER.size * len(self.parts)
        for part in self.parts:
            headers += PROGRAM_HEADER.pack(
                part.kind,
                first + len(contents) if part.offset is None else part.offset,
                part.address if part.virtual is None else part.virtual,
                part.address,
                len(part.data) if part.file_size is None else part.file_size,
                len(part.data) if part.memory_size is None else part.memory_size,
                *(7, 4),
            )
            contents += part.data
        return header + headers + contents


def multiboot_header(flags: int = 3, *addresses: int, magic: int = MULTIBOOT_MAGIC) -> bytes:
    """A header whose checksum is right; addresses: header, load, load end, bss end, entry."""
    checksum = -(magic + flags) & 0xFFFF_FFFF
    return struct.pack(f"<{3 + len(addresses)}I", magic, flags, checksum, *addresses)


def multiboot_flat(load: int = 0x100000, length: int = 0x1000, bss: int = 0x1000) -> bytes:
    """A kernel with the addresses in its header, which is at the start, and HLTs behind it."""
    end = load + length
    header = multiboot_header(3 | ADDRESSES, load, load, end, end + bss, load + 32)
    return header.ljust(length, b"\xf4")


def multiboot_elf(flags: int = 3) -> bytes:
    """A kernel in ELF: the header, then HLTs, at 1 MiB."""
    header = multiboot_header(flags)
    return Elf([Part(0x100000, header.ljust(64, b"\xf4"), 0x2000)], entry=0x10000C).build()


def floppy(kib: int = 160) -> bytes:
    """A floppy whose first sector can be booted, and whose others are FEh."""
    sector = b"\xf4".ljust(510, b"\x90") + b"\x55\xaa"
    return sector.ljust(kib << 10, b"\xfe")


def written(folder: Path, data: bytes, name: str = "guest.bin") -> Path:
    """A file of those bytes."""
    path = folder / name
    path.write_bytes(data)
    return path
