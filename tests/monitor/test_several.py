"""Several monitors at once: on one line, on one page, on many; and peers that only arm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

import x86core as x86
from tests.monitor.conftest import Sleep, still_asleep
from tests.support import DATA, Running, code_address, flat32, run, waiter

GuestStores = Callable[..., x86.VCPU]


def test_all_waiters_on_one_line_wake(sleep: Sleep, guest_stores: GuestStores) -> None:
    sleepers = [sleep(index=index, address=DATA + index) for index in range(4)]
    writer = guest_stores(f"mov byte ptr [{DATA + 9}], 1")
    assert [running.exit() for running in sleepers] == ["EXIT_HLT"] * 4
    assert writer.stats["monitor_triggers_vcpu"] == 4
    assert writer.stats["write_faults"] == 1


def test_each_waiter_on_one_page_wakes_for_its_own_line(
    sleep: Sleep, guest_stores: GuestStores
) -> None:
    lines = [DATA + 64 * index for index in range(4)]
    sleepers = [sleep(index=index, address=line) for index, line in enumerate(lines)]
    for index in (2, 0, 3, 1):
        assert all(still_asleep(running) for running in sleepers if running.vcpu.waiting)
        guest_stores(f"mov byte ptr [{lines[index]}], 1", index=10 + index)
        assert sleepers[index].exit() == "EXIT_HLT"
    assert [running.vcpu.stats["wakes_store"] for running in sleepers] == [1] * 4


def test_a_straddling_store_wakes_the_waiters_of_both_lines(
    sleep: Sleep, guest_stores: GuestStores
) -> None:
    below, above = sleep(index=0, address=DATA), sleep(index=1, address=DATA + 64)
    guest_stores(f"mov [{DATA + 62}], eax")
    assert (below.exit(), above.exit()) == ("EXIT_HLT", "EXIT_HLT")


def test_a_store_across_pages_wakes_the_waiters_of_both(
    sleep: Sleep, guest_stores: GuestStores
) -> None:
    below, above = sleep(index=0, address=DATA + 0xFFF), sleep(index=1, address=DATA + 0x1000)
    guest_stores(f"mov [{DATA + 0xFFE}], eax")
    assert (below.exit(), above.exit()) == ("EXIT_HLT", "EXIT_HLT")


def test_one_host_write_wakes_the_waiters_of_many_pages(sleep: Sleep, memory: x86.Memory) -> None:
    sleepers = [sleep(index=index, address=DATA + 0x1040 * index) for index in range(4)]
    memory.write(DATA, bytes(0x4100))
    assert [running.exit() for running in sleepers] == ["EXIT_HLT"] * 4


@pytest.mark.parametrize("offset", [0, 63, 64, 0xFC0, 0x1000])
def test_a_peer_that_arms_does_not_wake(
    sleep: Sleep, guest_stores: GuestStores, offset: int
) -> None:
    """The same line, another of its page, another page: MONITOR reads, it does not store."""
    running = sleep()
    source = f"mov eax, {DATA + offset}; xor ecx, ecx; monitor; jmp again; again: monitor"
    peer = guest_stores(source)
    assert peer.stats["monitor_arms"] >= 1
    assert still_asleep(running)


def test_a_peer_that_waits_does_not_wake(sleep: Sleep) -> None:
    first = sleep(index=0)
    second = sleep(index=1)
    assert still_asleep(first)
    assert still_asleep(second)


def test_a_wake_of_one_leaves_the_other_armed(sleep: Sleep, memory: x86.Memory) -> None:
    """The first waiter's wake, its exit and its MONITOR of another line are its own affair."""
    first, second = sleep(index=0, address=DATA), sleep(index=1, address=DATA + 64)
    memory.write(DATA, b"\1")
    assert first.exit() == "EXIT_HLT"
    assert still_asleep(second)


def test_a_waiter_that_is_deleted_is_not_looked_for(memory: x86.Memory) -> None:
    """Its armed monitor goes with it, and the line may be stored to."""
    vcpu = waiter("out 0x80, al", memory=memory, index=5)
    assert run(vcpu) == "EXIT_IO"
    del vcpu
    memory.write(DATA, b"\1")
    assert run(flat32(f"mov byte ptr [{DATA}], 2; hlt", memory=memory, index=1)) == "EXIT_HLT"
    assert memory.read(DATA, 1) == b"\2"


def test_a_chain_of_wakes(memory: x86.Memory) -> None:
    """Each vCPU sleeps on its own line and, woken, stores to the next one's."""
    length = 6
    with ExitStack() as stack:
        chain = []
        for index in range(length):
            line = DATA + 64 * index
            vcpu = waiter(f"mov ebx, {line + 64}", memory=memory, index=index, address=line)
            start = code_address(index)
            mwait = start + memory.read(start, 0x80).index(b"\x0f\x01\xc9\xf4")
            memory.write(mwait + 3, b"\xc6\x03\x01\xf4")  # MOV BYTE PTR [EBX], 1; HLT
            chain.append(stack.enter_context(Running(vcpu)))
        for running in chain:
            running.asleep("mwait")
        memory.write(DATA, b"\1")
        assert [running.exit() for running in chain] == ["EXIT_HLT"] * length
    assert memory.read(DATA + 64 * length, 1) == b"\1"
