"""Waits on the main thread: a signal handler's exception leaves them, and they can be resumed."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    MWAIT_WAITS,
    MWAIT_WOKEN_BY_STORE,
    VECTOR,
    await_count,
    leave_by_signal,
    looping,
    mwait_guest,
    set_hlt,
    set_mwait,
)
from tests.support import DATA, FLAG_IF, Running, run


@pytest.mark.parametrize("name", MWAIT_WAITS)
def test_mwait_goes_on_where_it_was_left(name: str) -> None:
    vcpu = mwait_guest(name, flags=FLAG_IF)
    for _ in range(2):
        leave_by_signal(vcpu)
        assert (vcpu.waiting, vcpu.mp_state) == ("", x86.MP_STATE_RUNNABLE)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    stats = vcpu.stats
    assert (stats["mwait_waits"], stats["mwait_instructions"], stats["wakes_interrupt"]) == (
        1,
        1,
        1,
    )


@pytest.mark.parametrize("name", MWAIT_WOKEN_BY_STORE)
def test_a_store_while_nobody_is_in_run_is_not_lost(name: str) -> None:
    vcpu = mwait_guest(name)
    leave_by_signal(vcpu)
    vcpu.memory.write(DATA, b"\1")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["wakes_store"] == 1


@pytest.mark.parametrize("name", HLT_WAITS)
def test_hlt_goes_on_where_it_was_left(name: str) -> None:
    vcpu = looping(HLT_LOOP, hlt=name)
    for _ in range(2):
        leave_by_signal(vcpu)
        assert (vcpu.waiting, vcpu.mp_state) == ("", x86.MP_STATE_HALTED)
    vcpu.interrupt(VECTOR)
    set_hlt(vcpu, "exit")
    assert run(vcpu) == "EXIT_HLT"
    stats = vcpu.stats
    assert (stats["halt_exits"], stats["halt_wakeup"]) == (2, 1)


def test_a_kick_reaches_the_main_thread() -> None:
    """Asleep in slices there, for the sake of signals; a kick does not wait for the slice's end."""
    vcpu = looping(HLT_LOOP)
    vcpu.kick()
    begin = time.monotonic()
    assert run(vcpu) == "EXIT_INTR"
    assert time.monotonic() - begin < 0.04


@pytest.mark.parametrize("way", ["mp_state", "interrupt"])
def test_the_next_halt_has_nothing_of_the_one_that_was_left(way: str) -> None:
    """The VMM may wake a vCPU by hand. The HLT after that is under the policy now in force."""
    vcpu = looping(HLT_LOOP, hlt="passthrough")
    leave_by_signal(vcpu)
    set_hlt(vcpu, "block")
    if way == "mp_state":
        vcpu.mp_state = x86.MP_STATE_RUNNABLE
    else:
        vcpu.interrupt(VECTOR)
    with Running(vcpu) as running:
        await_count(vcpu, "halt_exits", 2)
        before = running.cpu_time()
        time.sleep(0.1)
        assert running.cpu_time() - before < 0.005


@pytest.mark.parametrize("begins_anew", ["reset", "start_flat32", "start_real_mode"])
def test_a_vcpu_that_begins_anew_waits_for_nothing(begins_anew: str) -> None:
    vcpu = mwait_guest("scan")
    leave_by_signal(vcpu)
    set_mwait(vcpu, "nop")
    getattr(vcpu, begins_anew)()
    assert vcpu.monitor[0] == "idle"
    assert vcpu.run(max_instructions=1) in (x86.EXIT_LIMIT, x86.EXIT_INTERNAL_ERROR)
