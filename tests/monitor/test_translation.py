"""What translates the monitored address: a change of it while a vCPU waits ends the wait.

MWAIT may end early at any time, so a change of the translation may; without that, one who looks at
another page from now on would sleep on the old one.
"""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.idle.support import leave_by_signal
from tests.monitor.conftest import still_asleep
from tests.support import DATA, RAM, Running, flat32, run, wait_until, waiter

DIRECTORY, TABLE, OTHER_PAGE = 0x40000, 0x41000, 0x42000
#: Present, writable, for the user.
RIGHTS = 7
CR0_PG, CR4_PSE = 1 << 31, 1 << 4
LARGE = 1 << 7
LINE = 64
ENTRY = TABLE + 4 * (DATA >> 12)

HANDOFFS = 5000


def map_all(memory: x86.Memory) -> None:
    """The first MiB where it is, and the last MiB of the 4 GiB as well."""
    pages = (number << 12 | RIGHTS for number in range(RAM >> 12))
    table = b"".join(struct.pack("<I", entry) for entry in pages)
    memory.write(TABLE, table)
    memory.write(DIRECTORY, struct.pack("<I", TABLE | RIGHTS))
    memory.write(DIRECTORY + 4092, struct.pack("<I", TABLE | RIGHTS))


def page(vcpu: x86.VCPU) -> x86.VCPU:
    """Have it run with paging."""
    vcpu.cr3 = DIRECTORY
    vcpu.cr0 |= CR0_PG
    return vcpu


@pytest.fixture
def paged(memory: x86.Memory) -> x86.VCPU:
    """A vCPU that goes to sleep in MWAIT, with paging."""
    map_all(memory)
    return page(waiter(memory=memory))


@pytest.mark.parametrize(
    ("at", "data"),
    [
        pytest.param(ENTRY, struct.pack("<I", OTHER_PAGE | RIGHTS), id="the page table"),
        pytest.param(ENTRY, struct.pack("<I", DATA | RIGHTS), id="with the same value"),
        pytest.param(DIRECTORY, struct.pack("<I", RIGHTS), id="the page directory"),
        pytest.param(
            ENTRY // LINE * LINE + LINE - 1, b"\0", id="the last byte of the entry's line"
        ),
    ],
)
@pytest.mark.parametrize("by", ["host", "vCPU"])
def test_a_store_to_the_tables(
    memory: x86.Memory, paged: x86.VCPU, at: int, data: bytes, by: str
) -> None:
    with Running(paged) as running:
        running.asleep("mwait")
        if by == "host":
            memory.write(at, data)
        else:
            code = "; ".join(f"mov byte ptr [{at + n}], {byte}" for n, byte in enumerate(data))
            assert run(flat32(f"{code}; hlt", memory=memory, index=9)) == "EXIT_HLT"
        wait_until(lambda: running.vcpu.stats["wakes_store"] == 1, "woken")


@pytest.mark.parametrize(
    "at",
    [ENTRY // LINE * LINE - 1, ENTRY // LINE * LINE + LINE, DIRECTORY + LINE, DIRECTORY - 1],
)
def test_a_store_beside_the_entries(memory: x86.Memory, paged: x86.VCPU, at: int) -> None:
    with Running(paged) as running:
        running.asleep("mwait")
        memory.write(at, b"\0")
        assert still_asleep(running)
        memory.write(DATA, b"\1")
        wait_until(lambda: running.vcpu.stats["wakes_store"] == 1, "woken")


def test_who_walks_by_the_same_line_stores_there(memory: x86.Memory, paged: x86.VCPU) -> None:
    """The accessed bit of the entry beside it is a store like any other."""
    with Running(paged) as running:
        running.asleep("mwait")
        other = page(flat32(f"mov al, [{DATA + 0x1000}]; hlt", memory=memory, index=9))
        memory.write(DATA - 1, b"\0")
        assert run(other) == "EXIT_HLT"
        assert other.stats["monitor_triggers_walk"] > 0
        wait_until(lambda: running.vcpu.stats["wakes_store"] == 1, "woken")


def test_the_line_through_another_alias(memory: x86.Memory, paged: x86.VCPU) -> None:
    with Running(paged) as running:
        running.asleep("mwait")
        alias = 0xFFC00000 + DATA
        other = flat32(f"mov dword ptr [{alias}], 1; hlt", memory=memory, index=9)
        assert run(page(other)) == "EXIT_HLT"
        wait_until(lambda: running.vcpu.stats["wakes_store"] == 1, "woken")
        assert memory.read(DATA, 1) == b"\1"


def test_a_large_page(memory: x86.Memory) -> None:
    memory.write(DIRECTORY, struct.pack("<I", LARGE | RIGHTS))
    vcpu = waiter(memory=memory)
    vcpu.cr4 = CR4_PSE
    with Running(page(vcpu)) as running:
        running.asleep("mwait")
        memory.write(DIRECTORY, struct.pack("<I", LARGE | RIGHTS))
        wait_until(lambda: vcpu.stats["wakes_store"] == 1, "woken")


def test_without_paging_tables_are_memory_like_any_other(memory: x86.Memory) -> None:
    map_all(memory)
    with Running(waiter(memory=memory)) as running:
        running.asleep("mwait")
        memory.write(ENTRY, b"\0\0\0\0")
        assert still_asleep(running)


@pytest.mark.parametrize("name", ["cr3", "cr4"])
def test_the_vmm_changes_it(paged: x86.VCPU, name: str) -> None:
    """Outside run(), while the wait goes on."""
    leave_by_signal(paged)
    assert paged.monitor[0] == "waiting"
    setattr(paged, name, CR4_PSE if name == "cr4" else DIRECTORY)
    assert paged.monitor[0] == "triggered"
    assert run(paged) == "EXIT_HLT"
    assert paged.stats["wakes_store"] == 1


@pytest.mark.parametrize("change", [f"invlpg [{DATA}]", "mov ebx, cr3; mov cr3, ebx"])
def test_a_change_before_mwait(memory: x86.Memory, change: str) -> None:
    map_all(memory)
    vcpu = page(waiter(change, memory=memory))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["mwait_fallthroughs"] == 1


def test_a_page_of_tables_is_not_released_while_it_is_watched(
    memory: x86.Memory, paged: x86.VCPU
) -> None:
    with Running(paged) as running:
        running.asleep("mwait")
        store = f"mov byte ptr [{TABLE + 0xFFF}], 0"
        other = flat32(f"mov ecx, 300; again: {store}; loop again; hlt", memory=memory, index=9)
        assert run(other) == "EXIT_HLT"
        assert other.stats["page_releases"] == 0
        assert still_asleep(running)
        memory.write(ENTRY, b"\0\0\0\0")
        wait_until(lambda: running.vcpu.stats["wakes_store"] == 1, "woken")


def test_a_saved_wait_knows_its_tables(memory: x86.Memory, paged: x86.VCPU) -> None:
    leave_by_signal(paged)
    state = paged.save()
    paged.restore(state)
    assert paged.save() == state
    memory.write(ENTRY, b"\0\0\0\0")
    assert paged.monitor[0] == "triggered"


def test_remapping_is_as_good_as_a_store() -> None:
    """Two vCPUs; one sleeps on an address, the other gives that address the next of two pages."""
    memory = x86.Memory(RAM)
    map_all(memory)
    flag, pages, turns = 0x90000, (0xA0000, 0xB0000), 0x24000
    entry = TABLE + 4 * (flag >> 12)
    memory.write(entry, struct.pack("<I", pages[0] | RIGHTS))
    sleeper = flat32(
        f"""
            mov edi, {flag}
            mov ebp, 1
        idle:
            invlpg [edi]
            mov eax, edi
            xor ecx, ecx
            xor edx, edx
            monitor
            cmp [edi], ebp
            je woken
            xor eax, eax
            mwait
            jmp idle
        woken:
            mov [{turns}], ebp
            inc ebp
            cmp ebp, {HANDOFFS}
            jbe idle
            hlt
        """,
        memory=memory,
        index=0,
    )
    remapper = flat32(
        f"""
            mov ebp, 1
            mov esi, {pages[1]}
            mov edi, {pages[0]}
        again:
            mov [esi], ebp              # the page that is not mapped
            mov eax, esi
            or eax, {RIGHTS}
            mov [{entry}], eax
            xchg esi, edi
        wait:
            pause
            cmp [{turns}], ebp
            jne wait
            inc ebp
            cmp ebp, {HANDOFFS}
            jbe again
            hlt
        """,
        memory=memory,
        index=1,
    )
    sleeper.mwait_policy = x86.MWAIT_FAULT
    with Running(page(sleeper)) as first, Running(page(remapper)) as second:
        assert first.exit() == "EXIT_HLT"
        assert second.exit() == "EXIT_HLT"
    assert sleeper.stats["wakes_store"] > 0
