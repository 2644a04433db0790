from __future__ import annotations

import threading
import time

import pytest

from vmm.tick import TICK_VECTOR, Ticker


def test_rate_and_vector() -> None:
    ticks: list[int] = []
    with Ticker(ticks.append, hertz=200):
        time.sleep(0.25)
    assert set(ticks) == {TICK_VECTOR}
    assert 5 <= len(ticks) <= 50


def test_it_ends_at_once_however_slow_it_is() -> None:
    start = time.monotonic()
    with Ticker(lambda vector: None, hertz=0.001):
        pass
    assert time.monotonic() - start < 1


def test_zero_is_never() -> None:
    ticks: list[int] = []
    with Ticker(ticks.append, hertz=0):
        time.sleep(0.05)
    assert not ticks
    assert "tick" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("hertz", [-1, float("nan"), float("inf"), 1e-320, 1e9])
def test_a_rate_that_is_none(hertz: float) -> None:
    with pytest.raises(ValueError, match="tick rate must be 0 or from"):
        Ticker(lambda vector: None, hertz=hertz)
