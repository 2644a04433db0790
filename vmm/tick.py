"""The simplest timer, until there are devices: an interrupt at a fixed rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self

from vmm.clock import NANOSECONDS, VirtualClock

#: The first vector that the CPU does not reserve for exceptions, where IRQ 0, the timer, usually
#: goes.
TICK_VECTOR = 0x20

#: In Hz: what a host thread can keep to, and what anybody waits for.
FASTEST_TICK = 100_000.0
SLOWEST_TICK = 0.001


def check_rate(hertz: float) -> None:
    """Raises ValueError for a rate that no ticker has."""
    if hertz and not SLOWEST_TICK <= hertz <= FASTEST_TICK:
        raise ValueError(
            f"the tick rate must be 0 or from {SLOWEST_TICK:g} to {FASTEST_TICK:g} Hz,"
            f" not {hertz:g}"
        )


class VirtualTicker:
    """The same by a clock that somebody else moves: a tick at each multiple of the period.

    Raises ValueError for a rate that no ticker has.
    """

    def __init__(self, clock: VirtualClock, interrupt: Callable[[int], None], hertz: float) -> None:
        check_rate(hertz)
        self._interrupt = interrupt
        self._period = round(NANOSECONDS / hertz) if hertz else 0
        self._timer = clock.timer(self._tick)
        self._due = 0
        self.deadline = clock.now() + self._period if hertz else None

    @property
    def deadline(self) -> int | None:
        """The guest time of the next tick in ns, None for never. It may be set."""
        return self._timer.deadline

    @deadline.setter
    def deadline(self, deadline: int | None) -> None:
        self._timer.cancel()
        if deadline is not None:
            self._timer.at(deadline)
            self._due = deadline

    def _tick(self) -> None:
        self._interrupt(TICK_VECTOR)
        self._due += self._period
        self._timer.at(self._due)


class Ticker:
    """Calls `interrupt(TICK_VECTOR)` `hertz` times a second, on a thread, while used as a context
    manager.

    0 Hz is never. Ticks that the host came too late for are dropped, not made up for.
    """

    def __init__(self, interrupt: Callable[[int], None], hertz: float) -> None:
        check_rate(hertz)
        self._interrupt = interrupt
        self._hertz = hertz
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="tick", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()

    def _tick(self) -> None:
        if not self._hertz:
            return
        period = 1 / self._hertz
        due = monotonic() + period
        while not self._closed.wait(max(0, due - monotonic())):
            self._interrupt(TICK_VECTOR)
            due = max(due + period, monotonic())
