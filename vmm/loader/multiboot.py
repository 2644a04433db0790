"""Multiboot 1 kernels: the header by which one is known, and where it wants to be.

Source: Multiboot Specification 0.6.96, sections 3.1 and 3.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from vmm.loader.elf import MAGIC as ELF_MAGIC
from vmm.loader.elf import parse_elf
from vmm.loader.errors import LoadError
from vmm.loader.guest import Flat32Start, Format, Guest, Segment
from vmm.loader.image import Image

_MAGIC = 0x1BADB002
_MAGIC_2 = 0xE85250D6
#: What a kernel finds in EAX.
_LOADER_MAGIC = 0x2BADB002

#: The header lies in so many bytes from the start of the file, on a multiple of 4.
_SEARCHED = 8192

_PAGE_ALIGN, _MEMORY_INFO, _VIDEO_MODE = 1 << 0, 1 << 1, 1 << 2
_ADDRESSES = 1 << 16
#: What a kernel may not do without; a loader that does not know one of these has to refuse.
_REQUIREMENTS = 0xFFFF
_KNOWN = _PAGE_ALIGN | _MEMORY_INFO | _VIDEO_MODE

_NOTE = "EBX is the address of the boot information: memory map, command line, modules."


@dataclass(frozen=True, slots=True)
class Header:
    """A Multiboot header at `offset` of the file."""

    offset: int
    flags: int


def find_header(image: Image) -> Header | None:
    """The header of a Multiboot kernel, None if there is none.

    Raises LoadError for one that is damaged or of Multiboot 2.
    """
    head = image.head(_SEARCHED)
    words = struct.unpack_from(f"<{len(head) // 4}I", head)
    damaged = None
    for index, word in enumerate(words):
        if word == _MAGIC and len(words) >= index + 3:
            if _adds_up(words[index : index + 3]):
                return Header(4 * index, words[index + 1])
            damaged = 4 * index
        elif word == _MAGIC_2 and _adds_up(words[index : index + 4]):
            raise LoadError(f"{image.path} is a Multiboot 2 kernel: give it a Multiboot 1 header")
    if damaged is not None:
        raise LoadError(
            f"{image.path} has the magic of a Multiboot header at byte {damaged}, but magic, flags"
            " and checksum do not add up to 0: correct the checksum"
        )
    return None


def parse_multiboot(image: Image, header: Header) -> Guest:
    """A kernel, placed as its header says, or else as the ELF file that it is.

    Raises LoadError when it is neither, is damaged, or asks for what this machine has not.
    """
    if header.flags & _VIDEO_MODE:
        raise LoadError(f"{image.path} asks for a video mode (flag 2), and there is no video here")
    unknown = header.flags & _REQUIREMENTS & ~_KNOWN
    if unknown:
        raise LoadError(
            f"{image.path} requires what is not in Multiboot 1: flags {unknown:#x} of its header"
        )
    if header.flags & _ADDRESSES:
        guest = _by_addresses(image, header)
    elif image.head(len(ELF_MAGIC)) == ELF_MAGIC:
        guest = parse_elf(image)
    else:
        raise LoadError(
            f"{image.path} has a Multiboot header without addresses and is no ELF file: set bit 16"
            " of the flags and give the addresses, or link it as ELF"
        )
    start = replace(guest.start, registers={"eax": _LOADER_MAGIC})
    return replace(guest, format=Format.MULTIBOOT, start=start, notes=(_NOTE,))


def _by_addresses(image: Image, header: Header) -> Guest:
    """The kernel that the address fields of the header describe."""
    fields = image.read(header.offset + 12, 20)
    header_at, load, load_end, bss_end, entry = struct.unpack("<5I", fields)
    offset = header.offset - (header_at - load)
    length = load_end - load if load_end else image.size - offset
    size = bss_end - load if bss_end else length
    what_is_wrong = {
        "header_addr is below load_addr": header_at < load,
        "load_addr is before the start of the file": offset < 0,
        "load_end_addr is not above the header": header_at + 12 > load + length,
        "the file ends before load_end_addr": offset + length > image.size,
        "bss_end_addr is below load_end_addr": size < length,
        "entry_addr is not in what is loaded": not load <= entry < load + size,
    }
    wrong = [text for text, is_so in what_is_wrong.items() if is_so]
    if wrong:
        raise LoadError(f"{image.path}, Multiboot header at byte {header.offset}: {wrong[0]}")
    segment = Segment(load, size, offset, length)
    return Guest(image.path, Format.MULTIBOOT, image.size, Flat32Start(entry), (segment,))


def _adds_up(words: tuple[int, ...]) -> bool:
    return not sum(words) & 0xFFFF_FFFF
