"""Which threads the watchdog takes for starved, tried on threads whose needs are known."""

from __future__ import annotations

import threading
from time import thread_time

from bench.starvation import Starvation
from tests.support import wait_until


def burn(seconds: float) -> None:
    """Use so much CPU time, however long the host takes for it."""
    until = thread_time() + seconds
    while thread_time() < until:
        pass


def test_who_has_run_is_not_starved() -> None:
    starved = Starvation(threading.get_native_id)
    starved()
    for _ in range(3):
        burn(0.03)  # the host counts in steps of 0.01
        assert not starved()


def test_who_is_ready_and_has_not_run_is() -> None:
    starved = Starvation(threading.get_native_id)
    assert any(starved() for _ in range(5))  # it is ready, or it would not ask


def test_who_sleeps_is_not_starved() -> None:
    enough = threading.Event()
    thread = threading.Thread(target=enough.wait)
    thread.start()
    starved = Starvation(lambda: thread.native_id)
    burn(0.05)
    assert not any(starved() for _ in range(5))
    enough.set()
    thread.join()
    # Behind join, the host still has it for a moment.
    wait_until(lambda: not starved(), "the thread has gone")
