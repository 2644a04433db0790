from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from tests.loader.files import (
    ELF_HEADER,
    ET_CORE,
    ET_DYN,
    ET_REL,
    PT_DYNAMIC,
    PT_INTERP,
    PT_NOTE,
    Elf,
    Part,
    written,
)
from vmm.loader import Flat32Start, Format, LoadError, Segment, describe, load_guest
from x86core import VCPU, Memory

CODE = Part(0x100000, b"code", 0x1000)
DATA = Part(0x102000, b"data!", 0x2000)


def test_segments_go_to_their_physical_addresses(tmp_path: Path) -> None:
    memory = Memory(2 << 20)
    elf = Elf([DATA, CODE, Part(0, b"", 0x8000, kind=PT_NOTE)], entry=0x100002)
    guest = load_guest(written(tmp_path, elf.build(), "kernel"), memory)
    assert (guest.format, guest.mode, guest.memory) == (Format.ELF, "protected", 0x104000)
    assert guest.start == Flat32Start(0x100002)
    assert [(each.address, each.size, each.length) for each in guest.segments] == [
        (0x102000, 0x2000, 5),
        (0x100000, 0x1000, 4),
    ]
    assert memory.read(0x100000, 5) == b"code\0"
    assert memory.read(0x102000, 6) == b"data!\0"
    assert not memory.view()[:0x100000].any()


def test_a_segment_of_zeros_alone_is_room(tmp_path: Path) -> None:
    elf = Elf([CODE, Part(0x300000, b"", 0x1001), Part(0x500000, b"", 0)])
    guest = describe(written(tmp_path, elf.build()))
    assert guest.segments[1] == Segment(0x300000, 0x1001, guest.segments[1].offset, 0)
    assert (len(guest.segments), guest.memory) == (2, 0x302000)


@pytest.mark.parametrize("entry", [0xC0100002, 0x100002], ids=["virtual", "physical"])
def test_a_kernel_for_the_upper_half_starts_where_it_is(tmp_path: Path, entry: int) -> None:
    elf = Elf([replace(CODE, virtual=0xC0100000)], entry=entry)
    assert describe(written(tmp_path, elf.build())).start == Flat32Start(0x100002)


@pytest.mark.parametrize(("ram", "esp"), [("64K", 0x10000), ("2M", 0xA0000)])
def test_the_stack_is_at_the_end_of_low_memory(tmp_path: Path, ram: str, esp: int) -> None:
    memory = Memory({"64K": 64 << 10, "2M": 2 << 20}[ram])
    vcpu = VCPU(memory)
    elf = Elf([Part(0x8000, b"\xf4")], entry=0x8000)
    load_guest(written(tmp_path, elf.build()), memory).start.apply(vcpu)
    assert (vcpu.eip, vcpu.esp, vcpu.cr0 & 1) == (0x8000, esp, 1)


@pytest.mark.parametrize(
    ("elf", "says"),
    [
        (Elf(elf_class=2), "is ELF64"),
        (Elf(elf_class=0), "is no whole ELF file"),
        (Elf(data=2), "another processor"),
        (Elf(data=0), "is no whole ELF file"),
        (Elf(machine=62), "another processor (EM_X86_64)"),
        (Elf(machine=0xFEED), "another processor (65261)"),
        (Elf(kind=ET_REL), "not linked yet"),
        (Elf(kind=ET_DYN), "position-independent"),
        (Elf(kind=ET_CORE), "is no executable (ET_CORE)"),
        (Elf(kind=0xABCD), "is no executable (43981)"),
        (Elf([CODE, Part(0x8000, b"/lib", kind=PT_INTERP)]), "is linked dynamically"),
        (Elf([CODE, Part(0x8000, b"", kind=PT_DYNAMIC)]), "is linked dynamically"),
        (Elf([]), "no segment to load"),
        (Elf([Part(0x100000, b"note", kind=PT_NOTE)]), "no segment to load"),
        (Elf([CODE, Part(0x100FFF, b"x")]), "0x100000-0x101000 and 0x100fff-0x101000 overlap"),
        (Elf([Part(0x100800, b"x"), CODE]), "overlap"),
        (Elf([CODE, CODE]), "overlap"),
        (Elf([replace(CODE, memory_size=3)]), "more bytes in the file (4) than in memory (3)"),
        (Elf([replace(CODE, offset=0xFFFFFFFF)]), "it is cut short"),
        (Elf([replace(CODE, offset=0x55)]), "it is cut short"),
        (Elf([Part(0x100000, b"", 0xFFFFFFFF, file_size=0xFFFFFFFF)]), "it is cut short"),
        (Elf(entry=0), "the entry 0x0 is in none"),
        (Elf(entry=0x100010), "the entry 0x100010 is in none"),
        (Elf(entry=0xFFFFFFFF), "the entry 0xffffffff is in none"),
        (Elf(count=0xFFFF), "65535 program headers"),
        (Elf(count=1025), "1025 program headers"),
        (Elf(count=40), "40 program headers"),
        (Elf(program_headers=0xFFFFFFF0), "from byte 4294967280 on"),
        (Elf(program_header_size=0), "of 0 bytes"),
        (Elf(program_header_size=31), "of 31 bytes"),
        (Elf(program_header_size=0xFFFF), "of 65535 bytes"),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, elf: Elf, says: str) -> None:
    path = written(tmp_path, elf.build(), "kernel.elf")
    with pytest.raises(LoadError, match=re.escape(says)) as raised:
        describe(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("length", range(4, ELF_HEADER.size + 32))
def test_every_length_that_is_too_short(tmp_path: Path, length: int) -> None:
    with pytest.raises(LoadError, match=r"no whole ELF file|cut short"):
        describe(written(tmp_path, Elf().build()[:length]))


def test_a_section_table_nowhere_does_not_matter(tmp_path: Path) -> None:
    """Nothing is loaded from sections; a file that was cut behind its segments runs."""
    data = bytearray(Elf().build())
    struct.pack_into("<I", data, 32, 0xFFFFFF00)
    struct.pack_into("<3H", data, 46, 40, 0xFFFF, 0xFFFF)
    assert describe(written(tmp_path, bytes(data))).format is Format.ELF


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Part(0x100000, b"x"), r"takes 0x100000-0x100001, .*: give at least 1028K of memory"),
        (Part(0xFFFFF, b"xx"), "takes 0xfffff-0x100001"),
        (Part(0xFFFFFFF0, b"x", 0x20), r"takes 0xfffffff0-0x100000010, .*: link it lower"),
        (Part(0x8000, b"x", 0xFFFFFFFF), "takes 0x8000-0x100007fff"),
    ],
)
def test_a_segment_outside_ram(tmp_path: Path, part: Part, says: str) -> None:
    path = written(tmp_path, Elf([part], entry=part.address).build())
    memory = Memory(1 << 20)
    with pytest.raises(LoadError, match=says):
        load_guest(path, memory)
    assert not memory.view().any()


def test_an_address_is_the_files_own_affair(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="says itself where it is loaded"):
        describe(written(tmp_path, Elf().build()), 0x8000)
