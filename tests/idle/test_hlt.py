"""HLT under each policy: what it does, what ends it, what does not."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.idle.support import HLT_LOOP, HLT_WAITS, SETTLE, VECTOR, await_count, looping, set_hlt
from tests.support import CODE, NMI, Running, delivered, flat32, run, wait_until

waits = pytest.mark.parametrize("name", HLT_WAITS)

#: Nanoseconds, long enough to be seen on a busy host.
WINDOW = 150 * 10**6

#: Halts once, with interrupts on or off.
HALTED = {True: "sti; hlt; out 0x80, al", False: "cli; hlt; out 0x80, al"}


def halting(name: str, *, interrupts: bool = True) -> x86.VCPU:
    """A vCPU that halts once under a policy; its interrupts return, and then an EXIT_IO follows."""
    return looping(HALTED[interrupts], hlt=name)


@waits
def test_what_a_watcher_sees(name: str) -> None:
    vcpu = halting(name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.mp_state == x86.MP_STATE_HALTED
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"
    assert (vcpu.waiting, vcpu.mp_state) == ("", x86.MP_STATE_RUNNABLE)
    stats = vcpu.stats
    assert (stats["halt_exits"], stats["halt_wakeup"], stats["irq_injections"]) == (1, 1, 1)


@waits
def test_an_nmi_wakes(name: str) -> None:
    vcpu = halting(name, interrupts=False)
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.nmi()
        assert running.exit() == "EXIT_IO"
    assert vcpu.stats["nmi_injections"] == 1


@waits
def test_a_masked_interrupt_does_not(name: str) -> None:
    vcpu = halting(name, interrupts=False)
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        time.sleep(SETTLE)
        assert (vcpu.waiting, vcpu.mp_state) == ("hlt", x86.MP_STATE_HALTED)


@waits
def test_a_pending_interrupt_ends_it_at_once(name: str) -> None:
    vcpu = halting(name)
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.stats["halt_exits"] == 1


@waits
@pytest.mark.parametrize("how", ["kick", "immediate_exit"])
def test_the_vmm_can_leave_and_the_vcpu_stays_halted(name: str, how: str) -> None:
    vcpu = halting(name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        if how == "kick":
            vcpu.kick()
        else:
            vcpu.immediate_exit = 1
        assert running.exit() == "EXIT_INTR"
    vcpu.immediate_exit = 0
    assert (vcpu.mp_state, vcpu.waiting) == (x86.MP_STATE_HALTED, "")
    retired = vcpu.instructions
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.instructions == retired
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"


@waits
def test_waiting_costs_cpu_only_where_it_should(name: str) -> None:
    vcpu = halting(name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        if name == "passthrough":
            wait_until(lambda: running.cpu_time() > 0.05, "50 ms of a core")
        else:
            before = running.cpu_time()
            time.sleep(0.3)
            assert running.cpu_time() - before < 0.003
        assert vcpu.waiting == "hlt"


def test_poll_holds_the_core_for_its_window_and_then_sleeps() -> None:
    vcpu = looping(HLT_LOOP, hlt="poll")
    vcpu.halt_poll_ns = vcpu.halt_poll_ns_grow_start = WINDOW
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 2)
        begin = running.cpu_time()
        wait_until(lambda: running.cpu_time() - begin > 0.005, "the core is held")
        time.sleep(2 * WINDOW / 1e9)
        begin = running.cpu_time()
        time.sleep(0.3)
        assert running.cpu_time() - begin < 0.003
        assert vcpu.waiting == "hlt"
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 3)
        stats = vcpu.stats
    assert (stats["halt_attempted_poll"], stats["halt_successful_poll"]) == (1, 0)
    assert stats["halt_poll_fail_ns"] == WINDOW


def test_what_is_passed_through_exits_to_nobody() -> None:
    vcpu = halting("passthrough")
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_HLT
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"


@pytest.mark.parametrize("policy", [x86.HLT_BLOCK, x86.HLT_POLL])
def test_an_exit_wins_over_every_policy(policy: int) -> None:
    vcpu = halting("exit")
    vcpu.hlt_policy = policy
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.mp_state == x86.MP_STATE_HALTED


@pytest.mark.parametrize("name", HLT_WAITS)
def test_entering_a_halted_vcpu_again_under_another_policy(name: str) -> None:
    """The RFC: do some work, then enter again without the bit. Now it waits in the core."""
    vcpu = halting("exit")
    assert run(vcpu) == "EXIT_HLT"
    retired = vcpu.instructions
    set_hlt(vcpu, name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.instructions == retired
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"
    assert vcpu.stats["halt_exits"] == 1, "it is one HLT"


def test_a_vcpu_that_the_vmm_halts_waits_like_any_other() -> None:
    vcpu = looping("sti; nop; out 0x80, al")
    assert vcpu.run(max_instructions=2) == x86.EXIT_LIMIT
    vcpu.mp_state = x86.MP_STATE_HALTED
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.eip == CODE + 2
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_IO"
    assert vcpu.stats["halt_exits"] == 0, "no HLT was executed"


def test_a_vcpu_that_the_vmm_wakes_goes_on() -> None:
    vcpu = halting("exit", interrupts=False)
    assert run(vcpu) == "EXIT_HLT"
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_IO"


def test_a_halt_in_a_handler_of_another_halt() -> None:
    """The handler's HLT is a wait of its own, with interrupts off: only an NMI ends it."""
    vcpu = flat32("sti; hlt")
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "halt_exits", 2)
        running.asleep("hlt")
        vcpu.interrupt(VECTOR + 1)
        time.sleep(SETTLE)
        assert vcpu.waiting == "hlt"
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
        vcpu.nmi()
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu).vector == NMI
