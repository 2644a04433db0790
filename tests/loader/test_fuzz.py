"""Valid guests, damaged at random: each is loaded as its description says, or refused in a line."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loader.files import Elf, Part, floppy, multiboot_elf, multiboot_flat, written
from vmm.loader import Flat32Start, Format, LoadError, describe, load_guest
from x86core import VCPU, Memory

RAM = 2 << 20

SEEDS = {
    "flat.bin": b"\xf4" * 600,
    "boot.img": floppy(),
    "kernel.elf": Elf(
        [Part(0x100000, b"\xf4" * 64, 0x1000), Part(0x102000, b"data", 0x2000)],
    ).build(),
    "multiboot.bin": multiboot_flat(),
    "multiboot.elf": multiboot_elf(),
}

#: Numbers at which arithmetic on sizes and addresses goes wrong.
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 3, 4, 52, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFF000, RAM, RAM - 1]),
    st.integers(0, 0xFFFF_FFFF),
)
HEADERS = st.integers(0, 160)

CHANGES = st.one_of(
    st.tuples(st.just("dword"), HEADERS, NUMBERS),
    st.tuples(st.just("word"), HEADERS, st.integers(0, 0xFFFF)),
    st.tuples(st.just("byte"), st.integers(0, 1 << 13), st.integers(0, 255)),
    st.tuples(st.just("cut"), st.integers(0, 1 << 13), st.just(0)),
)
FORMATS = {"dword": "<I", "word": "<H", "byte": "<B"}


def changed(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    result = bytearray(data)
    for kind, offset, value in changes:
        if kind == "cut":
            del result[offset:]
        elif offset + struct.calcsize(FORMATS[kind]) <= len(result):
            struct.pack_into(FORMATS[kind], result, offset, value)
    return bytes(result)


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_are_guests(tmp_path: Path, name: str) -> None:
    describe(written(tmp_path, SEEDS[name], name))


@pytest.mark.parametrize("name", SEEDS)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(CHANGES, min_size=1, max_size=4), at=st.sampled_from([None, 0, 0x7C00]))
def test_a_damaged_guest(
    tmp_path: Path, name: str, changes: list[tuple[str, int, int]], at: int | None
) -> None:
    data = changed(SEEDS[name], changes)
    path = written(tmp_path, data, name)
    memory = Memory(RAM)
    try:
        guest = load_guest(path, memory, at)
    except LoadError as error:
        text = str(error)
        assert str(path) in text
        assert "\n" not in text
        assert not memory.view().any()
        return
    assert guest.memory <= RAM
    inside = 0
    for segment in guest.segments:
        expected = data[segment.offset : segment.offset + segment.length]
        assert len(expected) == segment.length <= segment.size
        assert memory.read(segment.address, segment.size) == expected.ljust(segment.size, b"\0")
        inside += sum(memory.read(segment.address, segment.size)) > 0
    if isinstance(guest.start, Flat32Start):
        assert any(each.address <= guest.start.eip < each.end for each in guest.segments)
    assert (guest.format is Format.MULTIBOOT) == ("ebx" in guest.start.registers)
    guest.start.apply(VCPU(memory))
