"""The guest pair.S: what its head promises of the mailbox."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bench.pair import MEMORY_SIZE, WAITER, WAKER, Pair
from vmm import MWAIT_CHOICES, Machine, Outcome, Result

TIMEOUT = 20.0


def load(policy: str, **parameters: int) -> tuple[Machine, Pair]:
    machine = Machine.load("pair", memory=MEMORY_SIZE, vcpus=2, idle=policy)
    pair = Pair(machine.memory)
    pair.configure(**{"interval_ns": 0} | parameters)
    return machine, pair


def finish(machine: Machine) -> Result:
    result = machine.run(timeout=TIMEOUT)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0), result.explanation
    return result


@pytest.mark.parametrize("policy", [name for name in MWAIT_CHOICES if name != "halt"])
def test_hands_off_as_often_as_wanted(policy: str) -> None:
    machine, pair = load(policy, wanted=200)
    finish(machine)
    assert pair.handoffs == 200
    assert not pair.need_resched
    assert len(pair.latencies_ns()) == 200
    assert np.all(pair.latencies_ns() > 0)


def test_stops_when_told_to() -> None:
    machine, pair = load("fault", interval_ns=4_000_000_000)
    pair.stop()  # the rest between handoffs is cut short too
    result = finish(machine)
    assert pair.handoffs == 0
    assert result.wall_seconds < 3


def test_rests_between_handoffs() -> None:
    machine, _ = load("fault", interval_ns=2_000_000, wanted=50)
    result = finish(machine)
    assert result.wall_seconds >= 50 * 0.002
    assert result.vcpus[WAITER].stats["mwait_waits"] >= 45  # it had time to fall asleep


def test_makes_the_first_handoffs_without_a_rest() -> None:
    machine, pair = load("fault", interval_ns=0xFFFF_FFFF, wanted=5, at_once=5)
    stopper = threading.Timer(0.5, pair.stop)
    stopper.start()
    result = finish(machine)
    stopper.join()
    assert pair.handoffs == 5
    assert result.wall_seconds < 3  # the rest, which is cut short, came behind the fifth


def test_a_waiter_that_only_an_interrupt_wakes_loses_the_store() -> None:
    machine, pair = load("halt")
    result = machine.run(timeout=0.3)
    assert result.outcome is Outcome.TIMEOUT
    assert result.vcpus[WAITER].waiting == "mwait"
    assert pair.need_resched
    assert pair.handoffs <= 2


def test_stores_beside_the_line_fault_and_wake_nobody() -> None:
    machine, _ = load("fault", interval_ns=500_000, wanted=50, false_stores=4)
    stats = finish(machine).vcpus[WAKER].stats
    # On a busy host the waking store itself may find the waiter not in MWAIT, for once.
    assert 4 * 45 <= stats["false_faults"] <= 4 * 51 + 10
    assert stats["write_faults"] >= 4 * 45 + 45


def test_without_stores_beside_the_line_there_are_no_false_faults() -> None:
    machine, _ = load("fault", interval_ns=500_000, wanted=50)
    assert finish(machine).vcpus[WAKER].stats["false_faults"] <= 10


def test_an_mwait_that_is_a_nop_returns_without_a_wake() -> None:
    machine, pair = load("nop", interval_ns=1_000_000, wanted=20)
    finish(machine)
    assert pair.spurious > 1000


def test_parameters_have_32_bits() -> None:
    _, pair = load("fault")
    with pytest.raises(Exception, match="format requires"):
        pair.configure(interval_ns=1 << 32)
