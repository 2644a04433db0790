"""What ends a wait besides a store: interrupts, NMI, a kick; and what must not."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.monitor.conftest import Sleep, still_asleep
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    NMI,
    Event,
    Running,
    delivered,
    run,
    wait_until,
    waiter,
)

VECTOR = 0x40
ONE_WAKE = ("wakes_store", "wakes_interrupt", "wakes_kick")
MWAIT_HLT = b"\x0f\x01\xc9\xf4"


def after_mwait(vcpu: x86.VCPU) -> int:
    """The address of the HLT at the end of `waiter`."""
    return CODE + vcpu.memory.read(CODE, 0x100).index(MWAIT_HLT) + 3


def wakes(vcpu: x86.VCPU) -> dict[str, int]:
    """The counters of wakes that are not zero."""
    return {name: count for name in ONE_WAKE if (count := vcpu.stats[name])}


def settle() -> None:
    """Time for a wake that must not come to show itself: several futex wakes' worth."""
    time.sleep(0.005)


def test_interrupt_wakes_and_is_delivered_after_mwait() -> None:
    vcpu = waiter()
    vcpu.eflags |= FLAG_IF
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, after_mwait(vcpu))
    assert wakes(vcpu) == {"wakes_interrupt": 1}


def test_masked_interrupt_does_not_wake_without_the_extension(sleep: Sleep) -> None:
    running = sleep()
    running.vcpu.interrupt(VECTOR)
    settle()
    assert still_asleep(running)
    running.vcpu.memory.write(DATA, b"\1")
    assert running.exit() == "EXIT_HLT"
    assert running.vcpu.eip == after_mwait(running.vcpu) + 1, "and it is still masked"
    assert wakes(running.vcpu) == {"wakes_store": 1}


def test_masked_interrupt_wakes_with_the_extension(sleep: Sleep) -> None:
    """ECX[0]: masked interrupts are break events; this one stays pending, it is not delivered."""
    running = sleep(extensions=1)
    running.vcpu.interrupt(VECTOR)
    assert running.exit() == "EXIT_HLT"
    vcpu = running.vcpu
    assert vcpu.eip == after_mwait(vcpu) + 1
    assert wakes(vcpu) == {"wakes_interrupt": 1}
    assert vcpu.stats["irq_injections"] == 0


def test_unmasked_interrupt_wakes_with_the_extension_too() -> None:
    vcpu = waiter(extensions=1)
    vcpu.eflags |= FLAG_IF
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, after_mwait(vcpu))


@pytest.mark.parametrize("extensions", [0, 1])
def test_sti_mwait_with_an_interrupt_pending(extensions: int) -> None:
    """Linux's idle loop: the shadow of STI lets MWAIT begin, and the interrupt comes after it."""
    vcpu = waiter("sti", extensions=extensions)
    vcpu.interrupt(VECTOR)
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, after_mwait(vcpu))
    assert vcpu.stats["mwait_instructions"] == 1


def test_masked_interrupt_pending_before_mwait() -> None:
    """Pending counts like arriving: with ECX[0] MWAIT is over at once, without it sleeps."""
    vcpu = waiter(extensions=1)
    vcpu.interrupt(VECTOR)
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert vcpu.eip == after_mwait(vcpu) + 1
    vcpu = waiter(extensions=0)
    vcpu.interrupt(VECTOR)
    with Running(vcpu) as running:
        running.asleep("mwait")
        settle()
        assert still_asleep(running)


@pytest.mark.parametrize("extensions", [0, 1])
def test_nmi_wakes_whatever_the_flags_say(sleep: Sleep, extensions: int) -> None:
    running = sleep(extensions=extensions)
    running.vcpu.nmi()
    assert running.exit() == "EXIT_HLT"
    assert delivered(running.vcpu) == Event(NMI, after_mwait(running.vcpu))


def test_kick_wakes(sleep: Sleep) -> None:
    running = sleep()
    running.vcpu.kick()
    assert running.exit() == "EXIT_INTR"
    vcpu = running.vcpu
    assert vcpu.eip == after_mwait(vcpu)
    assert wakes(vcpu) == {"wakes_kick": 1}
    assert vcpu.monitor[0] == "idle"
    assert run(vcpu) == "EXIT_HLT"


def test_kick_just_before_the_block() -> None:
    """Between MONITOR and MWAIT: the next run() returns at once, the one after goes on there.

    Whether MWAIT then still sleeps is free: a kick may use the armed monitor up or leave it armed.
    """
    vcpu = waiter("out 0x80, al")
    assert run(vcpu) == "EXIT_IO"
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    assert vcpu.stats["mwait_instructions"] == 0
    with Running(vcpu) as running:
        wait_until(lambda: vcpu.waiting == "mwait" or vcpu.eip > after_mwait(vcpu), "MWAIT")
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"


def test_kick_just_after_the_block(sleep: Sleep) -> None:
    """At the same moment as the wake: the kick counts once, in this run() or in the next."""
    running = sleep()
    vcpu = running.vcpu
    vcpu.memory.write(DATA, b"\1")
    vcpu.kick()
    reasons = [running.exit()]
    reasons.append(run(vcpu))
    assert sorted(reasons) == ["EXIT_HLT", "EXIT_INTR"]


def test_nothing_else_wakes(sleep: Sleep) -> None:
    """Reading its state, its statistics and the memory from outside leaves a sleeper asleep."""
    running = sleep()
    vcpu = running.vcpu
    vcpu.memory.read(DATA, 64)
    vcpu.memory.view()[DATA : DATA + 64].sum()
    assert (vcpu.mp_state, vcpu.waiting) == (x86.MP_STATE_RUNNABLE, "mwait")
    settle()
    assert still_asleep(running)


def test_waiting_costs_no_host_cpu(sleep: Sleep) -> None:
    """The thread of a vCPU that waits is blocked, not polling."""
    running = sleep()
    before = running.cpu_time()
    time.sleep(0.1)
    assert running.cpu_time() - before < 0.002
    assert still_asleep(running)


def test_mwait_counts_one_wait(sleep: Sleep) -> None:
    running = sleep()
    running.vcpu.memory.write(DATA, b"\1")
    assert running.exit() == "EXIT_HLT"
    stats = running.vcpu.stats
    assert (stats["mwait_instructions"], stats["mwait_waits"]) == (1, 1)
    assert stats["mwait_exits"] == 0
    assert running.vcpu.waiting == ""
