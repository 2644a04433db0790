"""ELF32 executables for the 386: what a linker makes of a kernel.

Source: System V ABI, chapters 4 and 5, and its Intel386 supplement.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NoReturn

from elftools.common.exceptions import ELFError
from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from vmm.loader.errors import LoadError
from vmm.loader.guest import Flat32Start, Format, Guest, Segment
from vmm.loader.image import Image

MAGIC = b"\x7fELF"

#: More program headers than any kernel has; from 0xFFFF on the number is somewhere else.
_MOST_SEGMENTS = 1024

_LINK = "link it with gcc -m32 -nostdlib -static, or ld -m elf_i386"


def parse_elf(image: Image) -> Guest:
    """An executable: its PT_LOAD segments at their physical addresses, started at its entry.

    Raises LoadError when it is none that this machine can run, or is damaged.
    """
    try:
        elf = ELFFile(image.stream)
        _check_kind(image, elf)
        headers = [header for header in _program_headers(image, elf) if header.p_memsz]
    except ELFError as error:
        raise LoadError(f"{image.path} is no whole ELF file: {error}") from None
    if not headers:
        raise LoadError(f"{image.path} has no segment to load (PT_LOAD): {_LINK}")
    segments = tuple(_segment(image, header) for header in headers)
    for lower, upper in pairwise(sorted(segments, key=lambda segment: segment.address)):
        if lower.end > upper.address:
            raise LoadError(
                f"{image.path}: the segments {_span(lower)} and {_span(upper)} overlap:"
                " give each its own physical address"
            )
    start = Flat32Start(_physical_entry(image, elf["e_entry"], headers))
    return Guest(image.path, Format.ELF, image.size, start, segments)


def _check_kind(image: Image, elf: ELFFile) -> None:
    """Raises LoadError unless it is a static executable for the 386."""

    def refuse(what: str) -> NoReturn:
        raise LoadError(f"{image.path} {what}; this machine runs static ELF32 i386: {_LINK}")

    if elf.elfclass != 32:
        refuse(f"is ELF{elf.elfclass}")
    if not elf.little_endian or elf["e_machine"] != "EM_386":
        refuse(f"is for another processor ({elf['e_machine']})")
    if elf["e_type"] == "ET_REL":
        refuse("is an object file, which is not linked yet")
    if elf["e_type"] == "ET_DYN":
        refuse("is position-independent or a shared library")
    if elf["e_type"] != "ET_EXEC":
        refuse(f"is no executable ({elf['e_type']})")


def _program_headers(image: Image, elf: ELFFile) -> list[Any]:
    """Those of type PT_LOAD. Raises LoadError when there are others that need a dynamic linker."""
    count, size, first = elf["e_phnum"], elf["e_phentsize"], elf["e_phoff"]
    expected = elf.structs.Elf_Phdr.sizeof()
    if count > _MOST_SEGMENTS or (count and size != expected) or first + count * size > image.size:
        raise LoadError(
            f"{image.path} says that it has {count} program headers of {size} bytes from byte"
            f" {first} on, which cannot be: it is damaged or cut short"
        )
    headers = [
        struct_parse(elf.structs.Elf_Phdr, image.stream, first + index * size)
        for index in range(count)
    ]
    for header in headers:
        if header.p_type in ("PT_INTERP", "PT_DYNAMIC"):
            raise LoadError(f"{image.path} is linked dynamically: {_LINK}")
    return [header for header in headers if header.p_type == "PT_LOAD"]


def _segment(image: Image, header: Any) -> Segment:
    segment = Segment(header.p_paddr, header.p_memsz, header.p_offset, header.p_filesz)
    if segment.length > segment.size:
        raise LoadError(
            f"{image.path}: the segment {_span(segment)} has more bytes in the file"
            f" ({segment.length:,}) than in memory ({segment.size:,}): it is damaged"
        )
    if segment.offset + segment.length > image.size:
        raise LoadError(
            f"{image.path}: the segment {_span(segment)} is bytes {segment.offset:,} to"
            f" {segment.offset + segment.length:,} of a file of {image.size:,}: it is cut short"
        )
    return segment


def _physical_entry(image: Image, entry: int, headers: list[Any]) -> int:
    """Where the entry, a virtual address, is without paging.

    A kernel for the upper half may give it as a physical address at once.
    """
    for header in headers:
        if header.p_vaddr <= entry < header.p_vaddr + header.p_memsz:
            return int(entry - header.p_vaddr + header.p_paddr)
    if any(header.p_paddr <= entry < header.p_paddr + header.p_memsz for header in headers):
        return entry
    raise LoadError(
        f"{image.path}: the entry {entry:#x} is in none of its segments: name it with -Wl,-e,SYMBOL"
    )


def _span(segment: Segment) -> str:
    return f"{segment.address:#x}-{segment.end:#x}"
