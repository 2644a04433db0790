"""Guests as source, with the assemblers themselves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.loader.files import written
from vmm.asm import AssemblyError
from vmm.loader import Format, LoadError, RealModeStart, assemble_file, describe, load_guest
from vmm.loader import shipped as shipped_module
from x86core import Memory

needs_nasm = pytest.mark.skipif(not shutil.which("nasm"), reason="nasm is not installed")

BOOT_SECTOR = """
bits 16
start:  mov si, text
        hlt
text:   db 'hello', 0
        times 510-($-$$) db 0
        dw 0xAA55
"""


def source(folder: Path, text: str, name: str = "guest.S") -> Path:
    return written(folder, text.encode(), name)


def test_gnu_source_is_assembled_for_its_address(tmp_path: Path) -> None:
    memory = Memory(64 << 10)
    load_guest(source(tmp_path, "here: .word here\n"), memory, 0x9000)
    assert memory.read(0x9000, 2) == b"\x00\x90"


def test_gnu_source_that_does_not_assemble(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"broken\.S:1: "):
        describe(source(tmp_path, "bogus\n", "broken.S"))


@pytest.mark.parametrize("name", ["empty.S", pytest.param("empty.asm", marks=needs_nasm)])
def test_empty_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match="is empty"):
        describe(source(tmp_path, "", name))


@pytest.mark.parametrize("name", ["binary.S", pytest.param("binary.asm", marks=needs_nasm)])
def test_what_is_no_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssemblyError, match=rf"{name}:1: "):
        describe(written(tmp_path, bytes(range(1, 256)), name))


@pytest.mark.parametrize("name", ['a "quoted".S', "back\\slash.S", "two\nlines.S", "\udcff.S"])
def test_a_strange_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b".byte 1\n")
    assert assemble_file(path).image == b"\x01"
    path.write_bytes(b"bogus\n")
    with pytest.raises(AssemblyError, match=r":1: Error: no such instruction"):
        assemble_file(path)


@needs_nasm
def test_a_nasm_boot_sector(tmp_path: Path) -> None:
    memory = Memory(64 << 10)
    guest = load_guest(source(tmp_path, "org 0x7C00\n" + BOOT_SECTOR, "boot.asm"), memory)
    assert guest.format is Format.BOOT_SECTOR
    assert memory.read(0x7C00, 9) == b"\xbe\x04\x7c\xf4hello"


@needs_nasm
@pytest.mark.parametrize(
    ("org", "at", "starts"),
    [
        ("", None, 0x7C00),
        ("", 0x8000, 0x8000),
        ("org 0x600", None, 0x600),
        ("org 0x600", 0x600, 0x600),
        ("org 0", 0x600, 0x600),
    ],
)
def test_where_nasm_source_goes(tmp_path: Path, org: str, at: int | None, starts: int) -> None:
    guest = describe(source(tmp_path, f"{org}\nhlt\n", "guest.asm"), at)
    assert guest.start == RealModeStart(0, starts)


@needs_nasm
def test_an_address_that_is_not_the_org(tmp_path: Path) -> None:
    path = source(tmp_path, "org 0x7C00\nhlt\n", "guest.asm")
    with pytest.raises(AssemblyError, match="says ORG 0x7c00, and is to be loaded at 0x8000"):
        describe(path, 0x8000)


@needs_nasm
def test_an_org_that_real_mode_does_not_reach(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="a flat image starts in real mode, in the first MiB"):
        describe(source(tmp_path, "org 0x100000\nhlt\n", "guest.asm"))


@needs_nasm
def test_nasms_error_names_file_and_line(tmp_path: Path) -> None:
    path = source(tmp_path, "nop\nbogus eax\n", "broken.asm")
    with pytest.raises(AssemblyError, match=rf"{path}:2: error: parser: instruction expected"):
        describe(path)


@needs_nasm
def test_a_nasm_include_beside_the_file(tmp_path: Path) -> None:
    source(tmp_path, "db 0x42\n", "beside.inc")
    path = source(tmp_path, '%include "beside.inc"\nincbin "beside.inc"\n', "guest.asm")
    assert assemble_file(path).image == b"\x42db 0x42\n"


@needs_nasm
def test_a_nasm_map_of_the_users_own(tmp_path: Path) -> None:
    path = source(tmp_path, "[map all mine.map]\norg 0x600\nhlt\n", "guest.asm")
    assert assemble_file(path).origin == 0x600


@needs_nasm
def test_a_name_that_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source(tmp_path, "hlt\n", "-o.asm")
    assert assemble_file(Path("-o.asm")).image == b"\xf4"


@needs_nasm
def test_nasms_listing_and_warnings(tmp_path: Path) -> None:
    made = assemble_file(source(tmp_path, "label\n hlt ; the end\n", "guest.asm"))
    assert "guest.asm:1: warning: label alone" in made.warnings
    listed = [line.split() for line in made.listing.splitlines()]
    assert ["2", "00000000", "F4", "hlt", ";", "the", "end"] in listed


def test_nasm_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = source(tmp_path, "hlt\n", "guest.asm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssemblyError, match=r"nasm is not on the PATH: .* needs nasm; install it"):
        describe(path)


class TestShippedGuests:
    """A shipped guest is source; beside it the build puts an image, which saves needing gcc."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "mine.S").write_text('.ascii "source"\n')
        monkeypatch.setattr(shipped_module, "GUESTS", tmp_path)
        return tmp_path

    def loaded(self, at: int | None = None) -> bytes:
        memory = Memory(64 << 10)
        load_guest("mine", memory, at)
        return memory.read(0x7C00 if at is None else at, 6)

    def test_source_alone(self) -> None:
        assert self.loaded() == b"source"

    @pytest.mark.parametrize("at", [None, 0x7C00])
    def test_an_image_newer_than_the_source(self, folder: Path, at: int | None) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.S", (1, 1))
        assert self.loaded(at) == b"image!"

    def test_a_stale_image(self, folder: Path) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.bin", (1, 1))
        assert self.loaded() == b"source"

    def test_an_image_built_for_another_address(self, folder: Path) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.S", (1, 1))
        assert self.loaded(at=0x9000) == b"source"

    @pytest.mark.parametrize("name", ["hallo", "", "x" * 300])
    def test_what_is_no_guest(self, name: str) -> None:
        with pytest.raises(LoadError, match=r"there is no guest '.*those are: mine"):
            describe(name)
