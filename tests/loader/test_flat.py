"""Flat images, boot sectors and floppies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.loader.files import floppy, written
from vmm.loader import Format, LoadError, RealModeStart, describe, load_guest
from x86core import VCPU, Memory


@pytest.mark.parametrize(
    ("at", "entry"),
    [(None, (0, 0x7C00)), ("0xFFFF", (0, 0xFFFF)), (0x10000, (0x1000, 0)), (0x12345, (0x1234, 5))],
)
def test_a_flat_image_starts_at_its_first_byte(
    tmp_path: Path, at: int | str | None, entry: tuple[int, int]
) -> None:
    memory = Memory(1 << 20)
    guest = load_guest(written(tmp_path, b"image"), memory, at)
    cs, ip = entry
    assert guest.start == RealModeStart(cs, ip)
    assert memory.read(cs * 16 + ip, 5) == b"image"


def test_the_start_is_applied_to_a_vcpu(tmp_path: Path) -> None:
    memory = Memory(1 << 20)
    vcpu = VCPU(memory)
    vcpu.edx = 0x600
    load_guest(written(tmp_path, floppy()), memory).start.apply(vcpu)
    assert (vcpu.cs.selector, vcpu.eip, vcpu.edx, vcpu.cr0 & 1) == (0, 0x7C00, 0, 0)


def test_an_image_may_end_where_ram_ends(tmp_path: Path) -> None:
    memory = Memory(64 << 10)
    load_guest(written(tmp_path, b"x" * (0x10000 - 0x7C00)), memory)
    assert memory.read(0xFFFF, 1) == b"x"


def test_an_image_of_several_chunks(tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 5)
    memory = Memory(4 << 20)
    load_guest(written(tmp_path, data), memory)
    assert memory.read(0x7C00, len(data)) == data


def test_an_oversize_image(tmp_path: Path) -> None:
    path = written(tmp_path, b"x" * (0x10000 - 0x7C00 + 1))
    with pytest.raises(LoadError, match=r"takes 0x7c00-0x10001, and RAM ends.*at least 68K"):
        load_guest(path, Memory(64 << 10))


def test_an_oversize_image_is_not_read_whole(tmp_path: Path) -> None:
    path = written(tmp_path, b"")
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(LoadError, match="RAM ends at 0x10000: place it lower"):
        load_guest(path, Memory(64 << 10))
    assert describe(path).size == 1 << 40


def test_a_load_address_outside_ram(tmp_path: Path) -> None:
    with pytest.raises(
        LoadError, match=r"0x10000 is outside the guest's RAM, which ends at 0x10000"
    ):
        load_guest(written(tmp_path, b"x"), Memory(64 << 10), 0x10000)


def test_a_boot_sector(tmp_path: Path) -> None:
    memory = Memory(64 << 10)
    guest = load_guest(written(tmp_path, floppy()[:512]), memory)
    assert guest.format is Format.BOOT_SECTOR
    assert guest.start == RealModeStart(0, 0x7C00, {"edx": 0})
    assert "INT 13h" in guest.notes[0]


@pytest.mark.parametrize("kib", [160, 180, 320, 360, 720, 1200, 1440, 1680, 2880])
@pytest.mark.parametrize("name", ["disk.img", "disk.ima", "disk.bin", "disk"])
def test_of_a_floppy_the_first_sector_is_loaded(tmp_path: Path, kib: int, name: str) -> None:
    memory = Memory(64 << 10)
    guest = load_guest(written(tmp_path, floppy(kib), name), memory)
    assert (guest.format, guest.size, guest.memory) == (Format.FLOPPY, kib << 10, 32 << 10)
    assert memory.read(0x7C00, 513) == floppy()[:512] + b"\0"


@pytest.mark.parametrize("size", [511, 513, 1024, (160 << 10) - 1, (160 << 10) + 512, 10 << 20])
def test_an_image_of_no_size_of_a_floppy(tmp_path: Path, size: int) -> None:
    data = floppy()[:512].ljust(size, b"\0")[:size]
    with pytest.raises(LoadError, match=f"has {size:,} bytes, which is no boot sector"):
        load_guest(written(tmp_path, data, "disk.img"), Memory(64 << 10))
    assert describe(written(tmp_path, data)).format is Format.FLAT


@pytest.mark.parametrize("signature", [b"\xaa\x55", b"\0\0", b"\x55\0", b"\0\xaa"])
def test_without_the_signature_nothing_boots(tmp_path: Path, signature: bytes) -> None:
    data = floppy()[:510] + signature
    with pytest.raises(LoadError, match="does not end in 55 AA"):
        describe(written(tmp_path, data, "disk.img"))
    assert describe(written(tmp_path, data)).format is Format.FLAT


def test_a_disk_has_one_address(tmp_path: Path) -> None:
    path = written(tmp_path, floppy())
    assert describe(path, 0x7C00).format is Format.FLOPPY
    with pytest.raises(LoadError, match="starts at 0x7c00: leave out the address"):
        describe(path, 0x8000)


def test_what_is_nothing_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"notes\.txt is no guest that is known here"):
        describe(written(tmp_path, b"buy milk\n", "notes.txt"))
