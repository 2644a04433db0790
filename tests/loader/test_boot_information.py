"""What a Multiboot kernel finds at EBX (specification 0.6.96, section 3.3)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.loader.files import Elf, Part, multiboot_flat, multiboot_header, written
from vmm.loader import LoadError, load_guest
from vmm.loader.boot_information import Information, memory_map
from x86core import Memory


class Found:
    """The boot information, read by the offsets of the specification."""

    def __init__(self, memory: Memory, address: int) -> None:
        self.memory = memory
        self.address = address

    def word(self, offset: int) -> int:
        return self.words(self.address + offset, 1)[0]

    def string(self, offset: int) -> bytes:
        return self._string(self.word(offset))

    def memory_map(self) -> list[tuple[int, int, int]]:
        at, end = self.word(48), self.word(48) + self.word(44)
        ranges = []
        while at < end:
            size, base, length, kind = struct.unpack("<IQQI", self.memory.read(at, 24))
            ranges.append((base, length, kind))
            at += size + 4
        assert at == end
        return ranges

    def modules(self) -> list[tuple[bytes, bytes]]:
        """The string and the contents of each."""
        found = []
        for index in range(self.word(20)):
            start, end, string, reserved = self.words(self.word(24) + 16 * index, 4)
            assert start % 4096 == reserved == 0
            found.append((self._string(string), self.memory.read(start, end - start)))
        return found

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.memory.read(address, 4 * count))

    def _string(self, address: int) -> bytes:
        return self.memory.read(address, 512).split(b"\0")[0]


def boot(path: Path, ram: int = 4 << 20, append: str = "", modules: tuple[str, ...] = ()) -> Found:
    memory = Memory(ram)
    guest = load_guest(path, memory, append=append, modules=modules)
    return Found(memory, guest.start.registers["ebx"])


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    return written(tmp_path, multiboot_flat())


def test_offsets() -> None:
    expected = {
        "flags": 0,
        "mem_lower": 4,
        "mem_upper": 8,
        "cmdline": 16,
        "mods_count": 20,
        "mods_addr": 24,
        "mmap_length": 44,
        "mmap_addr": 48,
        "boot_loader_name": 64,
    }
    assert {name: getattr(Information, name).offset for name in expected} == expected


def test_which_fields_are_there(kernel: Path) -> None:
    assert boot(kernel).word(0) == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9


def test_strings(kernel: Path) -> None:
    found = boot(kernel, append="root=/dev/nothing  verbose é")
    assert found.string(16) == "root=/dev/nothing  verbose é".encode()
    assert found.string(64) == b"x86core vmm"


def test_the_command_line_may_be_empty(kernel: Path) -> None:
    assert boot(kernel).string(16) == b""


def test_memory(kernel: Path) -> None:
    found = boot(kernel, 4 << 20)
    assert (found.word(4), found.word(8)) == (640, 3072)
    assert found.memory_map() == [
        (0, 0xA0000, 1),
        (0xA0000, 0x60000, 2),
        (0x100000, 0x300000, 1),
    ]


@pytest.mark.parametrize(
    ("ram", "ranges"),
    [
        (0x10000, [(0, 0x10000, 1)]),
        (0xA0000, [(0, 0xA0000, 1)]),
        (0xB0000, [(0, 0xA0000, 1), (0xA0000, 0x10000, 2)]),
        (0x100000, [(0, 0xA0000, 1), (0xA0000, 0x60000, 2)]),
        (0x101000, [(0, 0xA0000, 1), (0xA0000, 0x60000, 2), (0x100000, 0x1000, 1)]),
    ],
)
def test_maps_of_small_memories(ram: int, ranges: list[tuple[int, int, int]]) -> None:
    assert memory_map(ram) == ranges


def test_modules(kernel: Path, tmp_path: Path) -> None:
    written(tmp_path, b"first", "one")
    written(tmp_path, bytes(range(256)) * 17, "two")
    texts = (f"{tmp_path}/one", f"{tmp_path}/two with  arguments", f"{tmp_path}/one")
    found = boot(kernel, modules=texts)
    assert found.modules() == [
        (texts[0].encode(), b"first"),
        (texts[1].encode(), bytes(range(256)) * 17),
        (texts[2].encode(), b"first"),
    ]


def test_modules_lie_above_the_kernel_and_apart(kernel: Path, tmp_path: Path) -> None:
    written(tmp_path, bytes(4097), "two-pages")
    found = boot(kernel, modules=(f"{tmp_path}/two-pages",) * 2)
    assert [found.words(found.word(24) + 16 * index, 2) for index in (0, 1)] == [
        (0x102000, 0x103001),
        (0x104000, 0x105001),
    ]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("nowhere", None, "cannot read module .*nowhere: No such file"),
        ("empty", b"", "empty is empty"),
        ("large", bytes(3 << 20), "large does not fit: .*0x102000-0x402000.*give more memory"),
    ],
)
def test_a_module_that_cannot_be_had(
    kernel: Path, tmp_path: Path, name: str, data: bytes | None, says: str
) -> None:
    if data is not None:
        written(tmp_path, data, name)
    with pytest.raises(LoadError, match=says):
        boot(kernel, modules=(f"{tmp_path}/{name}",))


def test_a_module_name_that_is_empty(kernel: Path) -> None:
    with pytest.raises(LoadError, match="cannot read module"):
        boot(kernel, modules=("",))


@pytest.mark.parametrize("load", [0, 0x800, 0x1000, 0x2000, 0x7C00, 0x90000])
def test_the_structures_keep_clear_of_the_kernel(tmp_path: Path, load: int) -> None:
    data = multiboot_flat(load)
    memory = Memory(4 << 20)
    guest = load_guest(written(tmp_path, data), memory, append="x" * 1000)
    information = guest.start.registers["ebx"]
    assert memory.read(load, len(data)) == data
    assert information % 4 == 0
    assert 0x1000 <= information < 0xA0000
    assert information + 1200 <= load or information >= load + 0x2000


def test_between_two_segments(tmp_path: Path) -> None:
    code = multiboot_header().ljust(16, b"\xf4")
    parts = [Part(0x20000, code, 0x80000), Part(0, b"x", 0x10000)]
    path = written(tmp_path, Elf(parts, entry=0x20000).build())
    assert boot(path).address == 0x10000


@pytest.mark.parametrize("ram", [1 << 20, 4 << 20])
def test_a_kernel_that_leaves_no_room(tmp_path: Path, ram: int) -> None:
    path = written(tmp_path, multiboot_flat(0x1000, bss=0x9E000))
    with pytest.raises(LoadError, match=r"leaves no room for .* bytes of boot information"):
        boot(path, ram)


def test_a_command_line_that_is_too_long(kernel: Path) -> None:
    with pytest.raises(LoadError, match="a shorter command line"):
        boot(kernel, append="x" * 700_000)


@pytest.mark.parametrize(("append", "modules"), [("x", ()), ("", ("x",))])
def test_others_get_none(tmp_path: Path, append: str, modules: tuple[str, ...]) -> None:
    with pytest.raises(LoadError, match=r"are for Multiboot kernels, .* \(flat image\)"):
        boot(written(tmp_path, b"\xf4"), append=append, modules=modules)
