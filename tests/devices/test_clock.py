"""Guest time: both clocks behind one face."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from tests.support import PATIENCE, wait_until
from vmm.clock import SHORTEST_REST, Clock, VirtualClock, WallClock


def test_virtual_time_moves_by_advance_alone() -> None:
    clock = VirtualClock(start=5)
    assert clock.now() == 5
    clock.advance(7)
    assert clock.now() == 7
    with pytest.raises(ValueError, match="guest time 6 has passed: it is 7"):
        clock.advance(6)


def test_deadlines_are_served_in_order_and_at_their_moment() -> None:
    clock = VirtualClock()
    served: list[tuple[str, int]] = []

    def note(name: str) -> None:
        served.append((name, clock.now()))

    timers = {name: clock.timer(partial(note, name)) for name in "abc"}
    timers["a"].at(30)
    timers["b"].at(10)
    timers["c"].at(20)
    assert clock.next_deadline == 10
    clock.advance(25)
    assert served == [("b", 10), ("c", 20)]
    assert clock.next_deadline == 30
    clock.advance(30)
    assert served[-1] == ("a", 30)
    assert clock.next_deadline is None


def test_equal_deadlines_are_served_in_the_order_of_the_timers() -> None:
    clock = VirtualClock()
    served: list[str] = []
    timers = [clock.timer(partial(served.append, name)) for name in "abcd"]
    for timer in (timers[2], timers[0], timers[3], timers[1]):
        timer.at(10)
    clock.advance(10)
    assert served == ["a", "b", "c", "d"]


def test_a_timer_has_one_deadline() -> None:
    clock = VirtualClock()
    served: list[int] = []
    timer = clock.timer(lambda: served.append(clock.now()))
    timer.at(10)
    timer.at(20)
    clock.advance(15)
    assert served == []
    timer.cancel()
    clock.advance(100)
    assert served == []
    timer.at(50)  # past already
    clock.advance(100)
    assert served == [100]


def test_a_callback_may_set_its_timer_anew() -> None:
    clock = VirtualClock()
    served: list[int] = []

    def tick() -> None:
        served.append(clock.now())
        timer.at(clock.now() + 10)

    timer = clock.timer(tick)
    timer.at(10)
    clock.advance(35)
    assert served == [10, 20, 30]
    assert clock.next_deadline == 40


def test_wall_time_is_the_hosts() -> None:
    clock = WallClock(start=1000)
    first, host = clock.now(), time.monotonic_ns()
    assert first >= 1000
    time.sleep(0.01)
    assert clock.now() - first == pytest.approx(time.monotonic_ns() - host, abs=5_000_000)


def test_a_wall_clock_serves_deadlines_and_never_early() -> None:
    served: list[int] = []
    clock = WallClock()
    timers = [clock.timer(lambda: served.append(clock.now())) for _ in range(3)]
    with clock:
        deadlines = [clock.now() + milliseconds * 1_000_000 for milliseconds in (20, 10, 30)]
        for timer, deadline in zip(timers, deadlines, strict=True):
            timer.at(deadline)
        wait_until(lambda: len(served) == 3, "three deadlines")
    assert all(late >= due for late, due in zip(served, sorted(deadlines), strict=True))


def test_a_wall_clock_serves_nothing_after_it_has_been_left() -> None:
    served: list[int] = []
    clock = WallClock()
    timer = clock.timer(lambda: served.append(1))
    with clock:
        timer.at(clock.now() + 50_000_000)
    time.sleep(0.08)
    assert served == []
    assert "clock" not in {thread.name for thread in threading.enumerate()}


def test_an_earlier_deadline_wakes_a_sleeping_wall_clock() -> None:
    served = threading.Event()
    clock = WallClock()
    late, early = clock.timer(lambda: None), clock.timer(served.set)
    with clock:
        late.at(clock.now() + 3600 * 10**9)
        time.sleep(0.02)
        early.at(clock.now() + 1_000_000)
        assert served.wait(PATIENCE)


def test_a_timer_that_is_always_due_leaves_the_host_its_time() -> None:
    """A guest that programs the fastest rate there is."""
    rounds = [0]
    clock = WallClock()

    def tick() -> None:
        rounds[0] += 1
        timer.at(clock.now())

    timer = clock.timer(tick)
    with clock:
        began = clock.now()
        timer.at(0)
        time.sleep(0.2)
    assert 0 < rounds[0] <= 2 + (clock.now() - began) / SHORTEST_REST


def test_callbacks_have_the_lock() -> None:
    clock = WallClock()
    served = threading.Event()
    timer = clock.timer(served.set)
    with clock:
        with clock.lock:
            timer.at(0)
            assert not served.wait(0.05)
        assert served.wait(PATIENCE)


def test_a_callback_that_raises_is_told() -> None:
    failures: list[BaseException] = []
    clock = WallClock(failed=failures.append)
    timer = clock.timer(lambda: 1 // 0)
    with clock:
        timer.at(0)
        wait_until(lambda: bool(failures), "the failure")
    assert isinstance(failures[0], ZeroDivisionError)


@pytest.mark.parametrize("clock", [VirtualClock(), WallClock()])
def test_a_restored_machine_begins_at_its_time_without_deadlines(clock: Clock) -> None:
    calls: list[int] = []
    timer = clock.timer(lambda: calls.append(clock.now()))
    timer.at(clock.now() + 10**15)
    clock.begin_at(10**18)
    assert 10**18 <= clock.now() < 10**18 + 10**12
    assert clock.next_deadline is None
    assert calls == []
