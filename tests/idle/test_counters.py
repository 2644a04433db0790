"""What VCPU.stats counts: KVM's names with KVM's meanings, and the monitor's."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    LONG_NS,
    VECTOR,
    await_count,
    looping,
    mwait_guest,
    set_mwait,
)
from tests.support import DATA, FLAG_IF, Running, flat32, run

#: Of struct kvm_vcpu_stat and kvm_vcpu_stat_generic (Linux, kvm_host.h and kvm_types.h).
KVM_NAMES = {
    "exits",
    "io_exits",
    "mmio_exits",
    "irq_window_exits",
    "irq_injections",
    "nmi_injections",
    "halt_exits",
    "halt_wakeup",
    "halt_attempted_poll",
    "halt_successful_poll",
    "halt_poll_invalid",
    "halt_poll_success_ns",
    "halt_poll_fail_ns",
    "halt_wait_ns",
}
KINDS = ("locked", "string", "walk")
BESIDE = DATA + 0x800


def changes(vcpu: x86.VCPU, before: dict[str, int]) -> dict[str, int]:
    """The counters that have moved since, and by how much."""
    after = vcpu.stats
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def triggers(vcpu: x86.VCPU) -> dict[str, int]:
    """Monitors triggered by this vCPU's stores, by kind; what is of no kind is plain."""
    stats = vcpu.stats
    counts = {kind: stats[f"monitor_triggers_{kind}"] for kind in KINDS}
    counts["plain"] = stats["monitor_triggers_vcpu"] - sum(counts.values())
    return {kind: count for kind, count in counts.items() if count}


def test_kvms_names_are_there(memory: x86.Memory) -> None:
    stats = x86.VCPU(memory).stats
    assert set(stats) >= KVM_NAMES
    assert not any(stats.values())


def test_reset_clears_them() -> None:
    vcpu = mwait_guest("fault", f"mov byte ptr [{DATA}], 1")
    assert run(vcpu) == "EXIT_HLT"
    assert any(vcpu.stats.values())
    vcpu.reset()
    assert not any(vcpu.stats.values())


# HLT and interrupts.


def test_a_halt_that_sleeps() -> None:
    vcpu = looping("sti; hlt; out 0x80, al")
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"
    found = changes(vcpu, dict.fromkeys(vcpu.stats, 0))
    assert found.pop("halt_wait_ns") > 0
    expected = (
        "halt_exits",
        "halt_wakeup",
        "wakes_interrupt",
        "irq_injections",
        "exits",
        "io_exits",
    )
    assert {name: found[name] for name in expected} == dict.fromkeys(expected, 1)
    assert not [name for name in found if "poll" in name or "mwait" in name]


def test_each_halt_counts_once_however_often_it_is_entered_again() -> None:
    vcpu = looping("sti; hlt; out 0x80, al", hlt="exit")
    for _ in range(3):
        assert run(vcpu) == "EXIT_HLT"
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_IO"
    assert (vcpu.stats["halt_exits"], vcpu.stats["exits"]) == (1, 4)


def test_interrupts_and_nmis_count_when_they_are_delivered() -> None:
    vcpu = looping(HLT_LOOP, hlt="exit")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.interrupt(VECTOR)
    vcpu.interrupt(VECTOR)
    vcpu.interrupt(VECTOR + 1)
    vcpu.nmi()
    vcpu.nmi()
    assert vcpu.stats["irq_injections"] == vcpu.stats["nmi_injections"] == 0
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.stats["irq_injections"], vcpu.stats["nmi_injections"]) == (2, 1)


def test_a_poll_that_only_the_vmm_ends_is_invalid() -> None:
    """KVM counts a poll as invalid only if it was successful, so one that was not tried is none."""
    vcpu = looping(HLT_LOOP, hlt="poll")
    vcpu.halt_poll_ns = vcpu.halt_poll_ns_grow_start = LONG_NS
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert not [name for name in changes(vcpu, dict.fromkeys(vcpu.stats, 0)) if "poll" in name]
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 2)
        running.asleep("hlt")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    stats = vcpu.stats
    assert stats["halt_attempted_poll"] == stats["halt_successful_poll"] == 1
    assert stats["halt_poll_invalid"] == 1
    assert stats["halt_poll_success_ns"] > 0 == stats["halt_poll_fail_ns"]


# The monitor.


@pytest.mark.parametrize(
    ("store", "kind"),
    [
        (f"mov byte ptr [{DATA}], 1", "plain"),
        (f"inc dword ptr [{DATA}]", "plain"),
        (f"push eax; pop dword ptr [{DATA}]", "plain"),
        (f"lock inc dword ptr [{DATA}]", "locked"),
        (f"lock cmpxchg [{DATA}], ecx", "locked"),
        (f"xchg [{DATA}], eax", "locked"),
        (f"mov edi, {DATA}; stosd", "string"),
        (f"mov edi, {DATA}; mov ecx, 64; rep stosb", "string"),
        (f"mov esi, {BESIDE}; mov edi, {DATA}; mov ecx, 16; rep movsd", "string"),
    ],
)
def test_triggers_by_kind(memory: x86.Memory, store: str, kind: str) -> None:
    sleeper = mwait_guest("fault", memory=memory)
    writer = flat32(f"{store}; mov byte ptr [{BESIDE}], 1; hlt", memory=memory, index=1)
    with Running(sleeper) as running:
        running.asleep("mwait")
        assert run(writer) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
    assert triggers(writer) == {kind: 1}
    assert sleeper.stats["wakes_store"] == 1
    assert triggers(sleeper) == {}
    assert writer.stats["monitor_triggers_host"] == 0


def test_triggers_by_the_host(memory: x86.Memory) -> None:
    """They are the memory's: every vCPU shows the same number."""
    sleepers = [mwait_guest("fault", memory=memory, index=index) for index in range(2)]
    with Running(sleepers[0]) as first:
        first.asleep("mwait")  # before the other: in the guest it may answer no protection
        with Running(sleepers[1]) as second:
            second.asleep("mwait")
            memory.write(DATA + 60, bytes(8))
            assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    assert [vcpu.stats["monitor_triggers_host"] for vcpu in sleepers] == [2, 2]
    assert [triggers(vcpu) for vcpu in sleepers] == [{}, {}]


def test_a_store_that_triggers_two_monitors_counts_twice(memory: x86.Memory) -> None:
    """Once for each monitor; for the store itself there is write_faults."""
    sleepers = [mwait_guest("fault", memory=memory, index=index) for index in range(2)]
    writer = flat32(f"lock inc dword ptr [{DATA}]; hlt", memory=memory, index=2)
    with Running(sleepers[0]) as first:
        first.asleep("mwait")  # before the other: in the guest it may answer no protection
        with Running(sleepers[1]) as second:
            second.asleep("mwait")
            assert run(writer) == "EXIT_HLT"
            assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    assert triggers(writer) == {"locked": 2}
    assert (writer.stats["write_faults"], writer.stats["false_faults"]) == (1, 0)


def test_a_vcpus_own_store_triggers_its_monitor() -> None:
    vcpu = mwait_guest("fault", f"lock inc dword ptr [{DATA}]")
    assert run(vcpu) == "EXIT_HLT"
    assert triggers(vcpu) == {"locked": 1}
    stats = vcpu.stats
    assert (stats["mwait_fallthroughs"], stats["mwait_waits"], stats["wakes_store"]) == (1, 0, 0)


@pytest.mark.parametrize("name", ["fault", "adaptive", "passthrough", "scan"])
def test_arms_and_fallthroughs(name: str) -> None:
    """An MWAIT without an armed monitor, and one whose line was stored to."""
    vcpu = flat32(f"""
        mov eax, {DATA}
        xor ecx, ecx
        mwait
        monitor
        jmp arm
    arm:
        monitor
        out 0x80, al
        mwait
        hlt
    """)
    set_mwait(vcpu, name)
    assert run(vcpu) == "EXIT_IO"
    stats = vcpu.stats
    assert stats["monitor_arms"] + stats["monitor_unacknowledged"] == 2
    assert stats["monitor_arms"] >= 1
    assert (stats["mwait_instructions"], stats["mwait_fallthroughs"]) == (1, 1)
    assert stats["page_protections"] == (0 if name == "scan" else 1)
    vcpu.memory.write(DATA, b"\1")
    assert run(vcpu) == "EXIT_HLT"
    stats = vcpu.stats
    if name == "scan":  # the line is compared once MWAIT waits
        assert (stats["mwait_waits"], stats["wakes_store"]) == (1, 1)
    else:
        assert (stats["mwait_waits"], stats["mwait_fallthroughs"]) == (0, 2)


def test_protections_and_releases(memory: x86.Memory) -> None:
    vcpu = mwait_guest("fault", memory=memory)
    writer = flat32(
        f"mov ecx, 1000; again: inc dword ptr [{BESIDE}]; dec ecx; jnz again; hlt",
        memory=memory,
        index=1,
    )
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.stats["page_protections"] == 1
        memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert run(writer) == "EXIT_HLT"
    stats = writer.stats
    assert (stats["page_releases"], stats["page_protections"]) == (1, 0)
    assert 0 < stats["write_faults"] == stats["false_faults"] < 1000


@pytest.mark.parametrize("name", ["halt", "timer"])
def test_a_store_to_a_line_that_is_not_waited_for_is_no_wake(name: str) -> None:
    """The monitor was armed under `fault`, but it is an interrupt that ends the wait."""
    vcpu = mwait_guest("fault", "out 0x80, al", flags=FLAG_IF)
    assert run(vcpu) == "EXIT_IO"
    set_mwait(vcpu, name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert (vcpu.stats["wakes_interrupt"], vcpu.stats["wakes_store"]) == (1, 0)


@pytest.mark.parametrize("sipis", [1, 2])
def test_a_stray_start_up_ipi_changes_no_wake(sipis: int) -> None:
    """Linux sends two; the second one finds a processor that runs, or sleeps."""
    vcpu = mwait_guest("passthrough")
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("mwait")
        for _ in range(sipis):
            vcpu.sipi(1)
        vcpu.memory.write(DATA, b"\1")
        running.asleep("hlt")
        assert vcpu.stats["wakes_store"] == 1
        before = running.cpu_time()
        time.sleep(0.1)
        assert running.cpu_time() - before < 0.005, "HLT blocks: it does not spin as MWAIT did"
