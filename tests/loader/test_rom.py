"""ROM images: where they lie, and the files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loader.files import written
from vmm.loader import Format, LoadError, ResetStart, describe, load_guest
from x86core import VCPU, Memory


@pytest.mark.parametrize("kib", [4, 64, 100, 128])
def test_a_rom_ends_at_1_mib(tmp_path: Path, kib: int) -> None:
    memory = Memory(1 << 20)
    data = bytes(range(1, 129)) * (kib << 3)
    guest = load_guest(written(tmp_path, data, "bios.rom"), memory)
    assert (guest.format, guest.start) == (Format.ROM, ResetStart())
    assert memory.read(0x100000 - len(data), len(data)) == data
    assert memory.rom == len(data)
    assert (guest.memory, guest.mode, guest.devices) == (1 << 20, "real", "pc")
    assert guest.bootstrap_only


def test_any_file_can_be_called_a_rom(tmp_path: Path) -> None:
    path = written(tmp_path, b"\x7fELF".ljust(128 << 10, b"\0"))
    with pytest.raises(LoadError):
        describe(path)
    assert describe(path, as_rom=True).format is Format.ROM


def test_the_start_is_the_reset_vector(tmp_path: Path) -> None:
    memory = Memory(1 << 20)
    vcpu = VCPU(memory)
    vcpu.start_real_mode()
    load_guest(written(tmp_path, bytes(4096), "bios.rom"), memory).start.apply(vcpu)
    assert vcpu.cs.base + vcpu.eip == 0xFFFF_FFF0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bios.S", ".intel_syntax noprefix\n.code16\nmov ax, offset here\nhere: hlt\n.org 0x1000"),
        ("bios.asm", "mov ax, here\nhere: hlt\ntimes 0x1000-($-$$) db 0"),
        ("bios.asm", "org 0x100\nmov ax, here - 0x100\nhere: hlt\ntimes 0x1000-($-$$) db 0"),
    ],
)
def test_labels_of_source_count_from_0_or_its_org(tmp_path: Path, name: str, text: str) -> None:
    memory = Memory(1 << 20)
    guest = load_guest(written(tmp_path, text.encode(), name), memory, as_rom=True)
    assert guest.size == 4096
    assert memory.read(0xFF000, 4) == b"\xb8\x03\x00\xf4"


@pytest.mark.parametrize("size", [1, 4095, 4097, 132 << 10])
def test_a_size_that_no_rom_has(tmp_path: Path, size: int) -> None:
    path = written(tmp_path, bytes(size), "bios.rom")
    with pytest.raises(LoadError, match=r"which is no ROM: .* a multiple of 4,096, up to 128K"):
        describe(path)


def test_it_has_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(4096), "bios.rom")
    with pytest.raises(LoadError, match="is a ROM, which ends at 1 MiB: leave out the address"):
        describe(path, 0x8000)


def test_it_needs_a_mib_of_ram(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(8192), "bios.rom")
    with pytest.raises(LoadError, match=r"takes 0xfe000-0x100000.* give at least 1024K of memory$"):
        load_guest(path, Memory(512 << 10))
