"""Calls at a steady rate."""

from __future__ import annotations

import threading
import time

import pytest

from bench.periodic import Periodic


def test_calls_until_it_is_closed() -> None:
    calls = threading.Semaphore(0)
    with Periodic(calls.release, 0.001, "test"):
        for _ in range(5):
            assert calls.acquire(timeout=10)
    while calls.acquire(blocking=False):
        pass
    time.sleep(0.02)
    assert not calls.acquire(blocking=False)
    assert "test" not in [thread.name for thread in threading.enumerate()]


def test_closing_does_not_wait_for_the_period() -> None:
    start = time.monotonic()
    with Periodic(lambda: None, 60, "test"):
        pass
    assert time.monotonic() - start < 5


def test_a_failure_comes_out_at_the_end() -> None:
    called = threading.Event()

    def fail() -> None:
        called.set()
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"), Periodic(fail, 0.001, "test"):
        assert called.wait(10)


def test_a_failure_does_not_replace_another() -> None:
    called = threading.Event()

    def fail() -> None:
        called.set()
        raise LookupError

    def interrupted() -> None:
        with Periodic(fail, 0.001, "test"):
            assert called.wait(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


@pytest.mark.parametrize("period", [0, -1, float("nan")])
def test_a_period_is_positive(period: float) -> None:
    with pytest.raises(ValueError, match="period must be more than 0"):
        Periodic(lambda: None, period, "test")
