"""Policy scan: asleep, and every VM entry compares the lines of all who sleep.

Here the sleepers look at their lines themselves only where a test says so: their `mwait_scan_ns` is
as good as for ever. What is by design is tested as well: a change that is undone is missed.
"""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.idle.support import SETTLE, VECTOR, await_count, mwait_guest, set_mwait
from tests.support import DATA, FLAG_IF, Running, delivered, flat32, run

OTHER_LINE = DATA + 0x400


def enter(vcpu: x86.VCPU) -> None:
    """One VM entry that retires nothing: the vCPU is in its HLT."""
    retired = vcpu.instructions
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.instructions == retired


@pytest.fixture
def visitor(memory: x86.Memory) -> x86.VCPU:
    """A vCPU that does nothing but enter."""
    vcpu = flat32("hlt", memory=memory, index=9)
    assert run(vcpu) == "EXIT_HLT"
    return vcpu


def still_asleep(vcpu: x86.VCPU) -> bool:
    time.sleep(SETTLE)
    return vcpu.waiting == "mwait" and vcpu.monitor[0] == "waiting"


def test_a_store_is_found_at_the_next_entry(memory: x86.Memory, visitor: x86.VCPU) -> None:
    vcpu = mwait_guest("scan", memory=memory)
    with Running(vcpu) as running:
        running.asleep("mwait")
        memory.write(DATA + 40, b"\1")
        assert still_asleep(vcpu), "nobody has looked"
        enter(visitor)
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["wakes_store"] == 1


def test_a_store_by_a_guest_is_found_at_the_entry_after_it(memory: x86.Memory) -> None:
    vcpu = mwait_guest("scan", memory=memory)
    writer = flat32(f"mov byte ptr [{DATA}], 1; hlt", memory=memory, index=1)
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert run(writer) == "EXIT_HLT"
        assert still_asleep(vcpu), "the entry was before the store"
        enter(writer)
        assert running.exit() == "EXIT_HLT"


def test_without_entries_the_sleeper_looks_itself(memory: x86.Memory) -> None:
    vcpu = mwait_guest("scan", memory=memory)
    vcpu.mwait_scan_ns = 20 * 10**6
    with Running(vcpu) as running:
        running.asleep("mwait")
        begin = time.monotonic()
        memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
        assert time.monotonic() - begin < 1, "20 ms, and what a busy host adds"
    assert vcpu.stats["monitor_scans"] == 0, "it was no entry that found it"


def test_what_is_written_and_put_back_is_missed(memory: x86.Memory, visitor: x86.VCPU) -> None:
    """Compared is what stands there, not whether somebody stored: the price of the policy."""
    memory.write(DATA, b"old")
    vcpu = mwait_guest("scan", memory=memory)
    with Running(vcpu) as running:
        running.asleep("mwait")
        memory.write(DATA, b"new")
        memory.write(DATA, b"old")
        enter(visitor)
        assert still_asleep(vcpu)
        assert visitor.stats["monitor_scanned_lines"] >= 1, "it was looked at"
        memory.write(DATA, b"old")
        enter(visitor)
        assert still_asleep(vcpu), "the same value is no change either"


@pytest.mark.parametrize("offset", [0, 7, 8, 31, 63])
def test_each_byte_of_the_line_counts(memory: x86.Memory, visitor: x86.VCPU, offset: int) -> None:
    vcpu = mwait_guest("scan", memory=memory)
    with Running(vcpu) as running:
        running.asleep("mwait")
        memory.write(DATA - 1, b"\1")
        memory.write(DATA + 64, b"\1")
        enter(visitor)
        assert still_asleep(vcpu)
        memory.write(DATA + offset, b"\1")
        enter(visitor)
        assert running.exit() == "EXIT_HLT"


def test_one_entry_finds_all_changes_and_wakes_nobody_else(
    memory: x86.Memory, visitor: x86.VCPU
) -> None:
    lines = (DATA, OTHER_LINE, DATA)
    vcpus = [
        mwait_guest("scan", memory=memory, index=index, address=line)
        for index, line in enumerate(lines)
    ]
    with Running(vcpus[0]) as first, Running(vcpus[1]) as second, Running(vcpus[2]) as third:
        for running in (first, second, third):
            running.asleep("mwait")
        memory.write(DATA, b"\1")
        before = visitor.stats["monitor_scanned_lines"]
        enter(visitor)
        assert (first.exit(), third.exit()) == ("EXIT_HLT", "EXIT_HLT")
        assert visitor.stats["monitor_scanned_lines"] - before == len(lines)
        assert still_asleep(second.vcpu)
        memory.write(OTHER_LINE, b"\1")
        enter(visitor)
        assert second.exit() == "EXIT_HLT"


def test_a_change_between_monitor_and_mwait_counts(memory: x86.Memory) -> None:
    """The copy is MONITOR's, so that MWAIT does not begin to wait for what has happened."""
    vcpu = mwait_guest("scan", "out 0x80, al", memory=memory)
    assert run(vcpu) == "EXIT_IO"
    memory.write(DATA, b"\1")
    assert run(vcpu) == "EXIT_HLT"
    assert (
        vcpu.stats["wakes_store"] + vcpu.stats["mwait_fallthroughs"] + vcpu.stats["wakes_spurious"]
        == 1
    )


def test_no_page_is_protected(memory: x86.Memory) -> None:
    """What `scan` saves: neither the sleeper's page nor a store there costs anything."""
    vcpu = mwait_guest("scan", memory=memory)
    writer = flat32(
        f"mov ecx, 1000; again: inc dword ptr [{OTHER_LINE}]; dec ecx; jnz again; hlt",
        memory=memory,
        index=1,
    )
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert run(writer) == "EXIT_HLT"
    assert writer.stats["write_faults"] == writer.stats["false_faults"] == 0
    assert vcpu.stats["page_protections"] == vcpu.stats["monitor_unacknowledged"] == 0
    assert vcpu.stats["monitor_arms"] == 2, "both MONITORs: there is nothing to acknowledge"


def test_entries_compare_nothing_while_nobody_sleeps(memory: x86.Memory, visitor: x86.VCPU) -> None:
    vcpu = mwait_guest("scan", memory=memory)
    enter(visitor)
    assert visitor.stats["monitor_scans"] == 0
    with Running(vcpu) as running:
        running.asleep("mwait")
        enter(visitor)
        enter(visitor)
    assert visitor.stats["monitor_scans"] == visitor.stats["monitor_scanned_lines"] == 2
    enter(visitor)
    assert visitor.stats["monitor_scans"] == 2, "the sleeper is gone"


@pytest.mark.parametrize("gone", ["reset", "init", "interrupt"])
def test_a_sleeper_that_goes_otherwise_is_compared_no_more(
    memory: x86.Memory, visitor: x86.VCPU, gone: str
) -> None:
    vcpu = mwait_guest("scan", memory=memory, flags=FLAG_IF, index=1)
    with Running(vcpu) as running:
        running.asleep("mwait")
        if gone == "init":
            vcpu.init()
            running.asleep("start")
        elif gone == "interrupt":
            vcpu.interrupt(VECTOR)
            assert running.exit() == "EXIT_HLT"
            assert delivered(vcpu).vector == VECTOR
    vcpu.reset()
    enter(visitor)
    assert visitor.stats["monitor_scans"] == 0


def test_scan_and_fault_on_one_page(memory: x86.Memory, visitor: x86.VCPU) -> None:
    """The protection of the one triggers it and leaves the other to the entries."""
    scanning = mwait_guest("scan", memory=memory)
    faulting = mwait_guest("fault", memory=memory, index=1)
    with Running(scanning) as first:
        first.asleep("mwait")  # before the other: while it is in the guest it answers no protection
        with Running(faulting) as second:
            second.asleep("mwait")
            memory.write(DATA, b"\1")
            assert second.exit() == "EXIT_HLT"
            assert still_asleep(scanning)
            enter(visitor)
            assert first.exit() == "EXIT_HLT"


@pytest.mark.parametrize("mwait", ["fault", "adaptive", "passthrough", "timer", "nop"])
def test_monitor_under_scan_and_mwait_under_another_policy(memory: x86.Memory, mwait: str) -> None:
    """Nobody protects the line, and of these none has it compared: it is no monitor for them."""
    vcpu = mwait_guest("scan", "out 0x80, al", memory=memory)
    assert run(vcpu) == "EXIT_IO"
    set_mwait(vcpu, mwait)
    vcpu.mwait_timer_ns = 10**6
    with Running(vcpu) as running:
        await_count(vcpu, "mwait_instructions", 1)
        memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize("mwait", ["scan", "adaptive", "passthrough", "timer", "nop"])
def test_monitor_under_fault_and_mwait_under_another_policy(
    memory: x86.Memory, visitor: x86.VCPU, mwait: str
) -> None:
    vcpu = mwait_guest("fault", "out 0x80, al", memory=memory)
    assert run(vcpu) == "EXIT_IO"
    set_mwait(vcpu, mwait)
    vcpu.mwait_timer_ns = 10**6
    with Running(vcpu) as running:
        await_count(vcpu, "mwait_instructions", 1)
        memory.write(DATA, b"\1")
        enter(visitor)
        assert running.exit() == "EXIT_HLT"
