"""Policies switched while the guest runs or waits: from the next idle instruction on."""

from __future__ import annotations

import itertools
import time

import pytest

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    IRET,
    LONG_NS,
    MWAIT_LOOP,
    MWAIT_WAITS,
    SETTLE,
    VECTOR,
    await_count,
    looping,
    set_hlt,
    set_mwait,
)
from tests.support import DATA, FLAG_IF, HANDLERS, Running, flat32, run, wait_until

FIELDS = ("userspace_exits", "disable_exits", "mwait_policy", "hlt_policy")


def holds_the_core(running: Running) -> None:
    """Return once the sleeper has burnt some CPU time."""
    begin = running.cpu_time()
    wait_until(lambda: running.cpu_time() - begin > 0.01, "the core is held")


def lets_the_core_go(running: Running) -> None:
    """Check that the sleeper burns none."""
    begin = running.cpu_time()
    time.sleep(0.1)
    assert running.cpu_time() - begin < 0.002


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(MWAIT_WAITS, 2)])
def test_a_wait_under_way_goes_on_under_the_old_policy(old: str, new: str) -> None:
    """And the next MWAIT is under the new one; what the guest waits for ends it in any case."""
    vcpu = looping(MWAIT_LOOP, mwait=old)
    with Running(vcpu) as running:
        running.asleep("mwait")
        set_mwait(vcpu, new)
        time.sleep(0.001)
        assert vcpu.stats["mwait_waits"] == 1
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "mwait_waits", 2)
        running.asleep("mwait")
        waiting = new in ("passthrough", "scan", "fault", "adaptive")
        assert vcpu.monitor[0] == ("waiting" if waiting else "idle")


@pytest.mark.parametrize(("old", "new"), [("fault", "passthrough"), ("passthrough", "fault")])
def test_the_core_is_held_or_not_as_the_policy_was_at_mwait(old: str, new: str) -> None:
    vcpu = looping(MWAIT_LOOP, mwait=old)
    check = {"passthrough": holds_the_core, "fault": lets_the_core_go}
    with Running(vcpu) as running:
        running.asleep("mwait")
        set_mwait(vcpu, new)
        check[old](running)
        vcpu.memory.write(DATA, b"\1")
        await_count(vcpu, "mwait_waits", 2)
        check[new](running)


@pytest.mark.parametrize("old", HLT_WAITS)
@pytest.mark.parametrize("new", [*HLT_WAITS, "exit"])
def test_the_same_for_hlt(old: str, new: str) -> None:
    vcpu = looping(HLT_LOOP, hlt=old)
    with Running(vcpu) as running:
        running.asleep("hlt")
        set_hlt(vcpu, new)
        time.sleep(0.001)
        assert vcpu.stats["halt_exits"] == 1
        vcpu.interrupt(VECTOR)
        if new == "exit":
            assert running.exit() == "EXIT_HLT"
            return
        await_count(vcpu, "halt_exits", 2)
        if new == "passthrough":
            holds_the_core(running)
        else:
            lets_the_core_go(running)


def test_a_wait_is_counted_under_the_policy_that_it_began_under() -> None:
    """A wait that did not poll neither counts as a poll nor opens the window."""
    vcpu = looping(HLT_LOOP, hlt="block")
    vcpu.halt_poll_ns = LONG_NS
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.hlt_policy = x86.HLT_POLL
        for halts in (2, 3):
            vcpu.interrupt(VECTOR)
            await_count(vcpu, "halt_exits", halts)
            running.asleep("hlt")
        stats = vcpu.stats
    assert stats["halt_attempted_poll"] == 0, "the second HLT is the first that may open a window"


def test_a_poll_is_counted_though_the_policy_is_another_at_its_end() -> None:
    vcpu = looping(HLT_LOOP, hlt="poll")
    vcpu.halt_poll_ns = vcpu.halt_poll_ns_grow_start = LONG_NS
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 2)
        running.asleep("hlt")
        vcpu.hlt_policy = x86.HLT_BLOCK
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 3)
        assert vcpu.stats["halt_successful_poll"] == 1


@pytest.mark.parametrize("through", ["attributes", "record"])
def test_each_entry_can_be_of_its_own_kind(through: str) -> None:
    """The light switch of the thread: a few stores into kvm_run between two entries, no call."""
    vcpu = flat32(f"""
        mov eax, {DATA}
        xor ecx, ecx
    again:
        monitor                     // the first time on a page it may only have it protected
        jmp arm
    arm:
        monitor
        mwait
        hlt
        jmp again
    """)
    vcpu.eflags |= FLAG_IF
    vcpu.memory.write(HANDLERS + VECTOR, IRET)

    def put(**fields: int) -> None:
        for name in FIELDS:
            if through == "record":
                vcpu.kvm_run[name] = fields.get(name, 0)
            else:
                setattr(vcpu, name, fields.get(name, 0))

    hlt, mwait = x86.USERSPACE_EXIT_HLT, x86.USERSPACE_EXIT_MWAIT
    for _ in range(3):
        put(userspace_exits=mwait)
        vcpu.interrupt(VECTOR)
        assert run(vcpu) == "EXIT_MWAIT"
        put(userspace_exits=hlt)
        assert run(vcpu) == "EXIT_HLT"
        vcpu.interrupt(VECTOR)
        put(userspace_exits=hlt, mwait_policy=x86.MWAIT_YIELD)
        assert run(vcpu) == "EXIT_HLT"
        put(userspace_exits=hlt | mwait, disable_exits=mwait)
        vcpu.interrupt(VECTOR)
        with Running(vcpu) as running:
            running.asleep("mwait")
            vcpu.memory.write(DATA, b"\1")
            assert running.exit() == "EXIT_HLT"
        put(disable_exits=hlt, hlt_policy=x86.HLT_POLL)
        with Running(vcpu) as running:
            running.asleep("hlt")
            holds_the_core(running)
            put(userspace_exits=mwait)
            vcpu.interrupt(VECTOR)
            assert running.exit() == "EXIT_MWAIT"
        put(userspace_exits=hlt)
        assert run(vcpu) == "EXIT_HLT"


@pytest.mark.parametrize("through", ["attributes", "record"])
def test_a_running_guest_sees_each_switch(through: str) -> None:
    """Read at every idle instruction, not once for an entry."""
    vcpu = looping(MWAIT_LOOP, mwait="nop")
    with Running(vcpu) as running:
        await_count(vcpu, "mwait_instructions", 100)
        if through == "record":
            vcpu.kvm_run["mwait_policy"] = x86.MWAIT_FAULT
        else:
            vcpu.mwait_policy = x86.MWAIT_FAULT
        running.asleep("mwait")
        if through == "record":
            vcpu.kvm_run["userspace_exits"] = x86.USERSPACE_EXIT_MWAIT
        else:
            vcpu.userspace_exits = x86.USERSPACE_EXIT_MWAIT
        time.sleep(SETTLE)
        assert vcpu.waiting == "mwait"
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_MWAIT"
