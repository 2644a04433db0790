from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmm import loader
from vmm.asm import AssemblyError
from vmm.loader import LoadError, load_guest, make_memory, parse_address, parse_size
from x86core import Memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (65536, 65536),
        ("65536", 65536),
        ("64K", 64 << 10),
        ("64k", 64 << 10),
        ("16M", 16 << 20),
        ("16MiB", 16 << 20),
        ("1G", 1 << 30),
        (" 2 M ", 2 << 20),
        ("0", 0),
        ("-4K", -4096),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "16Q", "0x1000", "1.5M", "16M8", "sixteen"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(LoadError, match="is no size: give bytes"):
        parse_size(text)


def test_memory() -> None:
    assert make_memory("64K").size == 65536


@pytest.mark.parametrize("size", [0, "0", -4096, "-1M", 4095, "5000", "1000000G", 1 << 80, "16Q"])
def test_memory_that_cannot_be_had(size: int | str) -> None:
    with pytest.raises(LoadError, match=f"memory {size}: "):
        make_memory(size)


@pytest.mark.parametrize(
    ("text", "address"), [("0x7C00", 0x7C00), ("31744", 31744), (0, 0), ("0xFFFFF", 0xFFFFF)]
)
def test_addresses(text: int | str, address: int) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "here", "7C00", "0x"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(LoadError, match="is no address"):
        parse_address(text)


@pytest.mark.parametrize("address", [-1, "-1", "0x100000", 1 << 40])
def test_addresses_that_real_mode_does_not_reach(address: int | str) -> None:
    with pytest.raises(LoadError, match="outside the first MiB"):
        parse_address(address)


def flat(folder: Path, data: bytes) -> Path:
    path = folder / "guest.bin"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("at", "entry"),
    [(None, (0, 0x7C00)), ("0xFFFF", (0, 0xFFFF)), (0x10000, (0x1000, 0)), (0x12345, (0x1234, 5))],
)
def test_a_flat_image_starts_at_its_first_byte(
    tmp_path: Path, at: int | str | None, entry: tuple[int, int]
) -> None:
    memory = Memory(1 << 20)
    cs, ip = load_guest(flat(tmp_path, b"image"), memory, at)
    assert (cs, ip) == entry
    assert memory.read(cs * 16 + ip, 5) == b"image"


def test_an_image_may_end_where_ram_ends(tmp_path: Path) -> None:
    memory = Memory(64 << 10)
    load_guest(flat(tmp_path, b"x" * (0x10000 - 0x7C00)), memory)
    assert memory.read(0xFFFF, 1) == b"x"


def test_an_oversize_image(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"does not fit into the 33792 bytes from 0x7c00"):
        load_guest(flat(tmp_path, b"x" * (0x10000 - 0x7C00 + 1)), Memory(64 << 10))


def test_an_oversize_image_is_not_read_whole(tmp_path: Path) -> None:
    path = flat(tmp_path, b"")
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(LoadError, match="does not fit"):
        load_guest(path, Memory(64 << 10))


def test_a_load_address_outside_ram(tmp_path: Path) -> None:
    with pytest.raises(
        LoadError, match=r"0x10000 is outside the guest's RAM, which ends at 0x10000"
    ):
        load_guest(flat(tmp_path, b"x"), Memory(64 << 10), 0x10000)


def test_an_empty_image(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is empty"):
        load_guest(flat(tmp_path, b""), Memory(64 << 10))


def test_empty_source(tmp_path: Path) -> None:
    source = tmp_path / "empty.S"
    source.touch()
    with pytest.raises(LoadError, match="is empty"):
        load_guest(source, Memory(64 << 10))


@pytest.mark.parametrize("name", ["nowhere.S", "nowhere.bin"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match=rf"cannot read guest .*{name}: No such file"):
        load_guest(tmp_path / name, Memory(64 << 10))


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(LoadError, match="Is a directory"):
        load_guest(tmp_path / "folder.bin", Memory(64 << 10))


@pytest.mark.parametrize("name", ["hallo", "guest.elf", "../guests/hello", ""])
def test_what_is_no_guest(name: str) -> None:
    with pytest.raises(LoadError, match=r"nor a shipped guest .*hello"):
        load_guest(name, Memory(64 << 10))


def test_source_that_does_not_assemble(tmp_path: Path) -> None:
    source = tmp_path / "broken.S"
    source.write_text("bogus\n")
    with pytest.raises(AssemblyError, match=r"broken\.S:1: "):
        load_guest(source, Memory(64 << 10))


def test_source_is_assembled_for_its_address(tmp_path: Path) -> None:
    source = tmp_path / "guest.S"
    source.write_text("here: .word here\n")
    memory = Memory(64 << 10)
    load_guest(source, memory, 0x9000)
    assert memory.read(0x9000, 2) == b"\x00\x90"


class TestShippedGuests:
    """A shipped guest is source; beside it the build puts an image, which saves needing gcc."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "mine.S").write_text('.ascii "source"\n')
        monkeypatch.setattr(loader, "GUESTS", tmp_path)
        return tmp_path

    def loaded(self, at: int = 0x7C00) -> bytes:
        memory = Memory(64 << 10)
        load_guest("mine", memory, at)
        return memory.read(at, 6)

    def test_source_alone(self) -> None:
        assert self.loaded() == b"source"

    def test_an_image_newer_than_the_source(self, folder: Path) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.S", (1, 1))
        assert self.loaded() == b"image!"

    def test_a_stale_image(self, folder: Path) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.bin", (1, 1))
        assert self.loaded() == b"source"

    def test_an_image_built_for_another_address(self, folder: Path) -> None:
        (folder / "mine.bin").write_bytes(b"image!")
        os.utime(folder / "mine.S", (1, 1))
        assert self.loaded(at=0x9000) == b"source"
