"""Guest RAM as the host sees it."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import x86core as x86
from tests.support import DATA, RAM, flat32, run


def test_ram_starts_zeroed(memory: x86.Memory) -> None:
    assert memory.size == RAM
    assert not memory.view().any()


@pytest.mark.parametrize("size", [0, -4096, 1, 4095, 4097, 1 << 32, 1 << 40, 1 << 70])
def test_size_is_checked(size: int) -> None:
    with pytest.raises(ValueError, match=r"4096|4 GiB"):
        x86.Memory(size)


@pytest.mark.parametrize("size", [4096, 12288])
def test_small_memory_is_usable_to_its_last_byte(size: int) -> None:
    memory = x86.Memory(size)
    memory.write(size - 1, b"\xa5")
    assert memory.read(size - 2, 2) == b"\0\xa5"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_takes_any_bytes(memory: x86.Memory, kind: type) -> None:
    memory.write(DATA - 1, kind(b"three"))
    assert memory.read(DATA - 2, 7) == b"\0three\0"


def test_write_of_nothing_changes_nothing(memory: x86.Memory) -> None:
    memory.write(DATA, b"")
    assert not memory.view().any()


@pytest.mark.parametrize(
    ("address", "size"), [(-1, 1), (RAM, 1), (RAM - 1, 2), (1 << 32, 1), (0, RAM + 1), (1 << 70, 1)]
)
def test_access_outside_ram_is_refused_whole(memory: x86.Memory, address: int, size: int) -> None:
    with pytest.raises(ValueError, match="RAM"):
        memory.write(address, b"\xff" * size)
    with pytest.raises(ValueError, match="RAM"):
        memory.read(address, size)
    assert not memory.view().any()


def test_read_of_negative_size_is_refused(memory: x86.Memory) -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        memory.read(0, -1)


def test_view_is_live_and_read_only(memory: x86.Memory) -> None:
    view = memory.view()
    assert view.shape == (RAM,)
    assert view.dtype == np.uint8
    memory.write(DATA, b"\x12")
    assert view[DATA] == 0x12
    with pytest.raises(ValueError, match="read-only"):
        view[DATA] = 0


def test_view_sees_guest_stores() -> None:
    vcpu = flat32(f"mov dword ptr [{DATA}], 0x04030201; hlt")
    view = vcpu.memory.view()
    assert run(vcpu) == "EXIT_HLT"
    assert view[DATA : DATA + 4].tolist() == [1, 2, 3, 4]


def test_view_keeps_the_ram_alive() -> None:
    memory = x86.Memory(RAM)
    memory.write(DATA, b"\x77")
    view = memory.view()
    del memory
    gc.collect()
    assert view[DATA] == 0x77


def test_vcpu_keeps_the_ram_alive() -> None:
    vcpu = flat32(f"mov eax, [{DATA}]; hlt")
    vcpu.memory.write(DATA, b"\x44\x33\x22\x11")
    gc.collect()
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x11223344


def test_memory_counts_its_vcpus(memory: x86.Memory) -> None:
    vcpus = [x86.VCPU(memory, index=index) for index in (0, 7)]
    assert memory.vcpus == len(vcpus)
