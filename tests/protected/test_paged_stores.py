"""Monitored lines are physical; stores over two pages; what the processor stores while it walks."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    ACCESSED,
    ALL,
    DIRECTORY,
    DIRTY,
    TABLE,
    UPPER,
    entry_at,
    map_page,
    paged,
)
from tests.support import DATA, FLAG_ZF, Running, flat32, run, waiter, word32

FIRST, SECOND = DATA, 0x40000  # two pages that do not follow each other
BOUNDARY = UPPER + 0x1000

STORES = {
    "mov": ("mov [ebx], eax", struct.pack("<I", 0x44332211)),
    "add": ("add [ebx], eax", struct.pack("<I", 0x44332211)),
    "xchg": ("xchg [ebx], eax", struct.pack("<I", 0x44332211)),
    "lock xadd": ("lock xadd [ebx], eax", struct.pack("<I", 0x44332211)),
    "push": ("lea esp, [ebx + 4]; push eax", struct.pack("<I", 0x44332211)),
    "stosd": ("mov edi, ebx; stosd", struct.pack("<I", 0x44332211)),
    "cmpxchg8b": (
        "mov esi, ebx; mov ecx, 0x88776655; mov ebx, eax; xor eax, eax; xor edx, edx;"
        "cmpxchg8b [esi]",
        struct.pack("<II", 0x44332211, 0x88776655),
    ),
}


def writer(source: str, at: int, memory: x86.Memory | None = None) -> x86.VCPU:
    """On a vCPU of its own, with FIRST and SECOND one behind the other from UPPER on."""
    vcpu = paged(f"{source}; hlt", ebx=at, eax=0x44332211)
    map_page(vcpu, UPPER, FIRST | ALL)
    map_page(vcpu, BOUNDARY, SECOND | ALL)
    return vcpu


@pytest.mark.parametrize(
    ("name", "low"), [(name, low) for name in STORES for low in range(1, len(STORES[name][1]))]
)
def test_over_two_pages_that_do_not_follow_each_other(name: str, low: int) -> None:
    source, stored = STORES[name]
    vcpu = writer(source, BOUNDARY - low)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(FIRST + 0x1000 - 8, 8) == bytes(8 - low) + stored[:low]
    assert vcpu.memory.read(SECOND, 8) == stored[low:] + bytes(8 - len(stored) + low)
    assert vcpu.memory.read(FIRST + 0x1000, 8) == bytes(8), "the next physical page"
    for page in (UPPER, BOUNDARY):
        assert word32(vcpu.memory, entry_at(page)) & (ACCESSED | DIRTY) == ACCESSED | DIRTY


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("page", ["first", "second"])
def test_the_monitor_of_either_page_triggers_behind_all_bytes(name: str, page: str) -> None:
    """The sleeper takes what it finds in the other page as soon as it is awake."""
    source, stored = STORES[name]
    low = 2
    line, other = (FIRST + 0xFC0, SECOND) if page == "first" else (SECOND, FIRST + 0xFFE)
    vcpu = writer(source, BOUNDARY - low)
    sleeper = waiter(address=line, memory=vcpu.memory, index=1)
    with Running(sleeper) as running:
        running.asleep("mwait")
        assert run(vcpu) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
    assert sleeper.stats["wakes_store"] == 1
    found = sleeper.memory.read(other, 2)
    assert found == (stored[low : low + 2] if page == "first" else stored[:low])


@pytest.mark.parametrize("name", ["mov", "cmpxchg8b"])
@pytest.mark.parametrize("device", ["first", "second"])
def test_nothing_is_stored_before_a_device_has_answered(name: str, device: str) -> None:
    """One part goes to a device; the sleeper on the other part is woken behind the answer."""
    source, stored = STORES[name]
    vcpu = writer(source, BOUNDARY - 2)
    low_is_device = device == "first"
    map_page(vcpu, UPPER if low_is_device else BOUNDARY, 0xF0000000 | ALL)
    line, rest = (SECOND, stored[2:]) if low_is_device else (FIRST + 0xFFE, stored[:2])
    sleeper = waiter(address=line, memory=vcpu.memory, index=1)
    with Running(sleeper) as running:
        running.asleep("mwait")
        while (reason := vcpu.run()) == x86.EXIT_MMIO:
            assert vcpu.memory.read(line, len(rest)) == bytes(len(rest))
            assert sleeper.waiting == "mwait"
            vcpu.mmio_data = 0
        assert reason == x86.EXIT_HLT
        assert running.exit() == "EXIT_HLT"
    assert vcpu.memory.read(line, len(rest)) == rest


def test_cmpxchg8b_over_two_pages_that_finds_another_value() -> None:
    vcpu = writer(STORES["cmpxchg8b"][0], BOUNDARY - 3)
    vcpu.memory.write(SECOND + 4, b"\x01")
    assert run(vcpu) == "EXIT_HLT"
    assert not vcpu.eflags & FLAG_ZF
    assert (vcpu.eax, vcpu.edx) == (0, 0x01000000)
    assert vcpu.memory.read(SECOND, 5) == b"\0\0\0\0\x01"


@pytest.mark.parametrize("name", STORES)
def test_a_store_that_faults_in_the_second_page_stores_nothing(name: str) -> None:
    source, _ = STORES[name]
    vcpu = writer(source, BOUNDARY - 2)
    map_page(vcpu, BOUNDARY, 0)
    if name == "push":
        vcpu.memory.write(entry_at(BOUNDARY), struct.pack("<I", SECOND | 5))
        vcpu.cr0 |= 0x10000
        assert run(vcpu) == "EXIT_SHUTDOWN", "the frame of the fault has no other stack"
    else:
        assert run(vcpu) == "EXIT_HLT"
        assert vcpu.last_event == 14
    assert vcpu.cr2 == BOUNDARY
    assert vcpu.memory.read(FIRST, 0x1000) == bytes(0x1000)


# Aliases, and the processor's own stores.


@pytest.mark.parametrize("linear", [UPPER, UPPER + 0x3000])
def test_a_line_is_reached_by_any_linear_address(linear: int) -> None:
    vcpu = paged("mov [ebx], eax; hlt", ebx=linear + 0x40)
    map_page(vcpu, linear, DATA | ALL)
    with Running(waiter(address=DATA + 0x40, memory=vcpu.memory, index=1)) as running:
        running.asleep("mwait")
        assert run(vcpu) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"


def test_what_is_monitored_is_what_the_address_stands_for() -> None:
    source = "monitor; jmp arm; arm: monitor; mwait; hlt"
    sleeper = paged(source, eax=UPPER + 0x80, ecx=0, edx=0)
    sleeper.mwait_policy = x86.MWAIT_FAULT
    map_page(sleeper, UPPER, DATA | ALL)
    with Running(sleeper) as running:
        running.asleep("mwait")
        assert sleeper.monitor == ("waiting", DATA + 0x80)
        sleeper.memory.write(DATA + 0x80, b"\0")
        assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize(
    ("source", "line"), [("mov eax, [ebx]", DIRECTORY), ("mov [ebx], eax", TABLE + 0x1000)]
)
def test_accessed_and_dirty_bits_are_stores(source: str, line: int) -> None:
    vcpu = paged(f"{source}; hlt", ebx=UPPER)
    map_page(vcpu, UPPER, DATA | ALL)
    with Running(waiter(address=line, memory=vcpu.memory, index=1)) as running:
        running.asleep("mwait")
        assert run(vcpu) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"


def test_a_walk_that_changes_nothing_is_no_store() -> None:
    vcpu = paged("mov eax, [ebx]; hlt", ebx=UPPER)
    vcpu.memory.write(
        DIRECTORY, struct.pack("<II", TABLE | ALL | ACCESSED, TABLE + 0x1000 | ALL | ACCESSED)
    )
    map_page(vcpu, UPPER, DATA | ALL | ACCESSED)
    with Running(waiter(address=TABLE + 0x1000, memory=vcpu.memory, index=1)) as running:
        running.asleep("mwait")
        assert run(vcpu) == "EXIT_HLT"
        assert running.vcpu.waiting == "mwait"
        assert not running.vcpu.stats["wakes_store"]


def test_flat_and_paged_vcpus_share_lines() -> None:
    sleeper = waiter(address=DATA, index=1)
    vcpu = flat32("mov [ebx], eax; hlt", memory=sleeper.memory)
    vcpu.ebx = DATA
    with Running(sleeper) as running:
        running.asleep("mwait")
        assert run(vcpu) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
