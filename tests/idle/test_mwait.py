"""MWAIT under each policy: what it does, what ends it, what does not."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.idle.support import (
    MWAIT_LOOP,
    MWAIT_NOPS,
    MWAIT_WAITS,
    MWAIT_WOKEN_BY_STORE,
    SETTLE,
    VECTOR,
    await_count,
    looping,
    mwait_guest,
    on_one_core,
    set_mwait,
)
from tests.support import DATA, FLAG_IF, NMI, Running, delivered, flat32, run, wait_until

UNMOVED_BY_STORES = tuple(name for name in MWAIT_WAITS if name not in MWAIT_WOKEN_BY_STORE)

waits = pytest.mark.parametrize("name", MWAIT_WAITS)


def wakes(vcpu: x86.VCPU) -> dict[str, int]:
    """How the waits of MWAIT ended, as far as any did."""
    return {name: count for name, count in vcpu.stats.items() if "wakes_" in name and count}


@pytest.mark.parametrize("name", MWAIT_NOPS)
def test_a_nop_goes_on_at_once(name: str) -> None:
    vcpu = mwait_guest(name)
    assert run(vcpu) == "EXIT_HLT"
    stats = vcpu.stats
    assert (stats["mwait_instructions"], stats["mwait_waits"], stats["mwait_exits"]) == (1, 0, 0)
    assert stats["mwait_fallthroughs"] == 0, "nothing was waited for, so nothing fell through"
    assert stats["page_protections"] == 0


def test_yield_gives_the_core_to_whoever_wants_it(memory: x86.Memory) -> None:
    """Two guests on one core: one is busy, the other only MWAITs and gets next to nothing."""
    idle = looping(MWAIT_LOOP, mwait="yield", memory=memory)
    busy = flat32("again: jmp again", memory=memory, index=1)
    with on_one_core(), Running(idle) as yielding, Running(busy) as working:
        await_count(idle, "mwait_instructions", 1)
        before = yielding.cpu_time(), working.cpu_time()
        wait_until(lambda: working.cpu_time() - before[1] > 0.05, "50 ms of work")
        assert yielding.cpu_time() - before[0] < 0.025
    assert idle.stats["mwait_waits"] == 0


def test_exit_leaves_the_vcpu_runnable() -> None:
    vcpu = mwait_guest("exit")
    assert run(vcpu) == "EXIT_MWAIT"
    assert vcpu.exit_reason == vcpu.kvm_run["exit_reason"] == x86.EXIT_MWAIT == 38
    assert (vcpu.mp_state, vcpu.waiting) == (x86.MP_STATE_RUNNABLE, "")
    assert vcpu.monitor[0] == "idle"
    assert run(vcpu) == "EXIT_HLT", "the instruction is done: the guest goes on behind it"
    stats = vcpu.stats
    assert (stats["mwait_exits"], stats["mwait_instructions"], stats["mwait_waits"]) == (1, 1, 0)


def test_what_is_passed_through_exits_to_nobody() -> None:
    """disable_exits says that there is no intercept, so userspace_exits has nothing to report."""
    vcpu = mwait_guest("passthrough")
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["mwait_exits"] == 0


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_HALT, x86.MWAIT_FAULT])
def test_an_exit_wins_over_every_policy(policy: int) -> None:
    vcpu = mwait_guest("exit")
    vcpu.mwait_policy = policy
    assert run(vcpu) == "EXIT_MWAIT"


@waits
def test_what_a_watcher_sees(name: str) -> None:
    vcpu = mwait_guest(name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
        armed = name in MWAIT_WOKEN_BY_STORE
        assert vcpu.monitor == (("waiting", DATA) if armed else ("idle", 0))
    assert vcpu.waiting == ""
    assert vcpu.stats["mwait_waits"] == vcpu.stats["mwait_instructions"] == 1


@waits
def test_an_interrupt_wakes(name: str) -> None:
    vcpu = mwait_guest(name, flags=FLAG_IF)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu).vector == VECTOR
    assert wakes(vcpu) == {"wakes_interrupt": 1}


@waits
@pytest.mark.parametrize("extensions", [0, 1])
def test_a_masked_interrupt_wakes_only_with_the_extension(name: str, extensions: int) -> None:
    vcpu = mwait_guest(name, extensions=extensions)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        if not extensions:
            time.sleep(SETTLE)
            assert vcpu.waiting == "mwait"
            vcpu.nmi()
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 0
    assert wakes(vcpu) == {"wakes_interrupt": 1}


@waits
def test_an_nmi_wakes(name: str) -> None:
    vcpu = mwait_guest(name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.nmi()
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu).vector == NMI


@waits
@pytest.mark.parametrize("pending", ["interrupt", "nmi"])
def test_what_is_pending_before_ends_it_at_once(name: str, pending: str) -> None:
    """STI; MWAIT: the shadow of STI lets MWAIT begin, and what was pending ends it."""
    vcpu = mwait_guest(name, "sti" if pending == "interrupt" else "out 0x80, al")
    if pending == "interrupt":
        vcpu.interrupt(VECTOR)
    else:
        assert run(vcpu) == "EXIT_IO"
        vcpu.nmi()
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu).vector == (VECTOR if pending == "interrupt" else NMI)


@waits
def test_a_kick_ends_it(name: str) -> None:
    vcpu = mwait_guest(name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert wakes(vcpu) == {"wakes_kick": 1}
    assert vcpu.monitor[0] == "idle"
    assert run(vcpu) == "EXIT_HLT", "MWAIT may end at any time: the guest goes on behind it"


@waits
def test_immediate_exit_ends_it(name: str) -> None:
    vcpu = mwait_guest(name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.immediate_exit = 1
        assert running.exit() == "EXIT_INTR"
    vcpu.immediate_exit = 0
    assert run(vcpu) == "EXIT_HLT"


@pytest.mark.parametrize("name", MWAIT_WOKEN_BY_STORE)
@pytest.mark.parametrize("writer", ["host", "vcpu"])
def test_a_store_wakes(memory: x86.Memory, name: str, writer: str) -> None:
    """Under `scan` it is the sleeper itself that looks: no other vCPU enters after the store."""
    vcpu = mwait_guest(name, memory=memory)
    vcpu.mwait_scan_ns = 10**6
    other = mwait_guest("nop", f"mov byte ptr [{DATA + 63}], 1", memory=memory, index=1)
    with Running(vcpu) as running:
        running.asleep("mwait")
        if writer == "host":
            memory.write(DATA + 63, b"\1")
        else:
            assert run(other) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
    assert wakes(vcpu) == {"wakes_store": 1}


@pytest.mark.parametrize("name", MWAIT_WOKEN_BY_STORE)
def test_a_store_to_another_line_does_not(memory: x86.Memory, name: str) -> None:
    vcpu = mwait_guest(name, memory=memory)
    vcpu.mwait_scan_ns = 10**6
    with Running(vcpu) as running:
        running.asleep("mwait")
        memory.write(DATA + 64, b"\1")
        memory.write(DATA - 1, b"\1")
        time.sleep(SETTLE)
        assert vcpu.waiting == "mwait"
    assert wakes(vcpu) == {"wakes_kick": 1}, "the one of this test's end"


@pytest.mark.parametrize("name", MWAIT_WOKEN_BY_STORE)
def test_a_store_before_mwait_is_not_lost(name: str) -> None:
    """Between MONITOR and MWAIT, where the guest has looked at its flag already."""
    vcpu = mwait_guest(name, "out 0x80, al")
    assert run(vcpu) == "EXIT_IO"
    vcpu.memory.write(DATA, b"\1")
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize("name", UNMOVED_BY_STORES)
def test_where_stores_are_lost(name: str) -> None:
    """`halt` loses them for good, `timer` until its slice is over; nobody pays a write fault."""
    vcpu = mwait_guest(name, flags=FLAG_IF)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        time.sleep(SETTLE)
        assert vcpu.waiting == "mwait"
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert wakes(vcpu) == {"wakes_interrupt": 1}
    assert vcpu.stats["page_protections"] == vcpu.stats["monitor_arms"] == 0


@pytest.mark.parametrize("name", MWAIT_WOKEN_BY_STORE)
def test_without_monitor_it_falls_through(name: str) -> None:
    vcpu = flat32("xor ecx, ecx; mwait; mwait; hlt")
    set_mwait(vcpu, name)
    assert run(vcpu) == "EXIT_HLT"
    stats = vcpu.stats
    assert (stats["mwait_instructions"], stats["mwait_fallthroughs"], stats["mwait_waits"]) == (
        2,
        2,
        0,
    )


@waits
def test_waiting_costs_cpu_only_where_it_should(name: str) -> None:
    """Under 1 % of a core asleep; only `passthrough` holds the core."""
    vcpu = mwait_guest(name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        if name == "passthrough":
            wait_until(lambda: running.cpu_time() > 0.05, "50 ms of a core")
        else:
            before = running.cpu_time()
            time.sleep(0.3)
            assert running.cpu_time() - before < 0.003
        assert vcpu.waiting == "mwait"


def test_a_slice_of_the_timer_is_as_long_as_it_should_be() -> None:
    vcpu = mwait_guest("timer")
    vcpu.mwait_timer_ns = 30 * 10**6
    begin = time.monotonic_ns()
    assert run(vcpu) == "EXIT_HLT"
    assert 30 * 10**6 <= vcpu.stats["mwait_wait_ns"] < time.monotonic_ns() - begin
    assert wakes(vcpu) == {"wakes_spurious": 1}


def test_the_timer_takes_the_slice_in_force_at_mwait() -> None:
    vcpu = mwait_guest("timer")
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.mwait_timer_ns = 0
        time.sleep(SETTLE)
        assert vcpu.waiting == "mwait"
    vcpu = mwait_guest("timer")
    vcpu.mwait_timer_ns = 0
    assert run(vcpu) == "EXIT_HLT"


def test_a_guest_under_the_timer_looks_again_and_again() -> None:
    """Its loop sees the store after at most a slice, though nobody tells it."""
    vcpu = flat32(f"""
        mov eax, {DATA}; xor ecx, ecx; xor edx, edx
    again:
        monitor
        cmp byte ptr [{DATA}], 0
        jne seen
        mwait
        jmp again
    seen:
        hlt
    """)
    set_mwait(vcpu, "timer")
    vcpu.mwait_timer_ns = 10**6
    with Running(vcpu) as running:
        await_count(vcpu, "wakes_spurious", 3)
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert set(wakes(vcpu)) == {"wakes_spurious"}
