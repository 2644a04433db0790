"""The header of a Multiboot kernel, and what becomes of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.loader.files import (
    ADDRESSES,
    Elf,
    Part,
    floppy,
    multiboot_elf,
    multiboot_flat,
    multiboot_header,
    written,
)
from vmm.loader import Flat32Start, Format, LoadError, Segment, describe, load_guest
from x86core import VCPU, Memory

LOADER_MAGIC = 0x2BADB002


def test_by_the_addresses_of_its_header(tmp_path: Path) -> None:
    memory = Memory(2 << 20)
    data = multiboot_flat()
    guest = load_guest(written(tmp_path, data), memory)
    assert guest.format is Format.MULTIBOOT
    assert guest.segments == (Segment(0x100000, 0x2000, 0, 0x1000),)
    assert memory.read(0x100000, 0x1001) == data + b"\0"
    assert guest.bootstrap_only


def test_as_elf(tmp_path: Path) -> None:
    memory = Memory(2 << 20)
    guest = load_guest(written(tmp_path, multiboot_elf(), "kernel"), memory)
    assert guest.format is Format.MULTIBOOT
    assert memory.read(0x100000, 12) == multiboot_header()


def test_the_state_that_the_specification_asks_for(tmp_path: Path) -> None:
    """Section 3.2."""
    memory = Memory(2 << 20)
    vcpu = VCPU(memory)
    guest = load_guest(written(tmp_path, multiboot_elf()), memory)
    guest.start.apply(vcpu)
    assert vcpu.eax == LOADER_MAGIC
    assert vcpu.ebx == guest.start.registers["ebx"] > 0
    assert vcpu.eip == 0x10000C
    for segment in (vcpu.cs, vcpu.ss, vcpu.ds, vcpu.es, vcpu.fs, vcpu.gs):
        assert (segment.base, segment.limit) == (0, 0xFFFF_FFFF)
    assert vcpu.cs.access & 0x400A == 0x400A  # 32 bits, code that can be read
    assert vcpu.cr0 & 0x8000_0001 == 1
    assert not vcpu.eflags & (1 << 9 | 1 << 17)


@pytest.mark.parametrize("offset", [0, 4, 4096, 8192 - 32])
def test_where_the_header_may_be(tmp_path: Path, offset: int) -> None:
    load = 0x100000
    header = multiboot_header(ADDRESSES, load + offset, load, 0, 0, load)
    guest = describe(written(tmp_path, bytes(offset) + header + b"more"))
    assert guest.segments == (Segment(load, offset + 36, 0, offset + 36),)


@pytest.mark.parametrize("offset", [1, 2, 3, 5, 8192 - 8, 8192, 9000])
def test_where_it_is_no_header(tmp_path: Path, offset: int) -> None:
    header = multiboot_header(ADDRESSES, 0x100000 + offset, 0x100000, 0, 0, 0x100000)
    guest = describe(written(tmp_path, bytes(offset) + header + b"more"))
    assert guest.format is Format.FLAT


def test_what_is_before_load_addr_is_not_loaded(tmp_path: Path) -> None:
    header = multiboot_header(ADDRESSES, 0x100000, 0x100000, 0x100020, 0, 0x100000)
    guest = describe(written(tmp_path, bytes(256) + header + b"not loaded"))
    assert guest.segments == (Segment(0x100000, 32, 256, 32),)


def test_a_kernel_on_a_floppy_is_the_boot_sectors_affair(tmp_path: Path) -> None:
    disk = bytearray(floppy())
    disk[512 : 512 + 32] = multiboot_flat()[:32]
    assert describe(written(tmp_path, bytes(disk))).format is Format.FLOPPY


def test_the_addresses_count_in_elf_too(tmp_path: Path) -> None:
    elf = Elf([Part(0x300000, bytes(64))], entry=0x300000).build()
    header = multiboot_header(ADDRESSES, 0x100000 + len(elf), 0x100000, 0, 0, 0x100000)
    guest = describe(written(tmp_path, elf + header))
    assert guest.start == Flat32Start(0x100000, {"eax": LOADER_MAGIC})


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        # header, load, load end, bss end, entry
        ((0x0FFFFF, 0x100000, 0, 0, 0x100000), "header_addr is below load_addr"),
        ((0x200000, 0x100000, 0, 0, 0x100000), "load_addr is before the start of the file"),
        ((0x100000, 0x100000, 0x10000B, 0, 0x100000), "load_end_addr is not above the header"),
        ((0x100000, 0x100000, 0x000001, 0, 0x100000), "load_end_addr is not above the header"),
        ((0x100000, 0x100000, 0x101001, 0, 0x100000), "the file ends before load_end_addr"),
        ((0x100000, 0x100000, 0xFFFFFFFF, 0, 0x100000), "the file ends before load_end_addr"),
        ((0x100000, 0x100000, 0, 0x100FFF, 0x100000), "bss_end_addr is below load_end_addr"),
        ((0x100000, 0x100000, 0, 1, 0x100000), "bss_end_addr is below load_end_addr"),
        ((0x100000, 0x100000, 0, 0, 0x0FFFFF), "entry_addr is not in what is loaded"),
        ((0x100000, 0x100000, 0, 0, 0x101000), "entry_addr is not in what is loaded"),
    ],
)
def test_addresses_that_cannot_be(tmp_path: Path, addresses: tuple[int, ...], says: str) -> None:
    data = multiboot_header(ADDRESSES, *addresses).ljust(0x1000, b"\xf4")
    with pytest.raises(LoadError, match=f"Multiboot header at byte 0: {says}"):
        describe(written(tmp_path, data))


@pytest.mark.parametrize("length", range(12, 32))
def test_a_header_that_is_cut_short(tmp_path: Path, length: int) -> None:
    with pytest.raises(LoadError, match=r"cut short"):
        describe(written(tmp_path, multiboot_flat()[:length]))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (1 << 2, "asks for a video mode"),
        (1 << 3, "flags 0x8 of its header"),
        (0xFFF8, "flags 0xfff8 of its header"),
    ],
)
def test_a_requirement_that_cannot_be_met(tmp_path: Path, flags: int, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        describe(written(tmp_path, multiboot_elf(flags)))


def test_what_is_optional_may_be_unknown(tmp_path: Path) -> None:
    assert describe(written(tmp_path, multiboot_elf(0xFFFE0003))).format is Format.MULTIBOOT


def test_without_addresses_it_has_to_be_elf(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="header without addresses and is no ELF file"):
        describe(written(tmp_path, multiboot_header() + bytes(100)))


def test_a_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(multiboot_flat())
    struct.pack_into("<I", data, 8, 0)
    with pytest.raises(LoadError, match="at byte 0, but magic, flags and checksum do not add up"):
        describe(written(tmp_path, bytes(data)))


def test_a_right_header_behind_a_wrong_one(tmp_path: Path) -> None:
    wrong = struct.pack("<3I", 0x1BADB002, 0, 0)
    load = 0x100000
    header = multiboot_header(ADDRESSES, load + 12, load, 0, 0, load)
    assert describe(written(tmp_path, wrong + header)).format is Format.MULTIBOOT


def test_multiboot_2(tmp_path: Path) -> None:
    header = struct.pack("<4I", 0xE85250D6, 0, 24, -(0xE85250D6 + 24) & 0xFFFFFFFF)
    with pytest.raises(LoadError, match="is a Multiboot 2 kernel"):
        describe(written(tmp_path, header + struct.pack("<2I", 0, 8)))


def test_an_address_is_the_kernels_own_affair(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="says itself where it is loaded"):
        describe(written(tmp_path, multiboot_flat()), 0x8000)
