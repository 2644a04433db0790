"""How long a vCPU stays out of its guest for work, and by which clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: A guest that has been away for longer between two idle exits had something to do.
_BUSY_NS: Final = 20_000


class SliceLength:
    """The length of the slices of one vCPU, in ns: it grows while its guest stays idle, and shrinks
    when the guest had been woken or was busy.

    Idle time has two peaks, at less than 200 us for a vCPU that is busy and at more than 1 ms for
    one that is idle. So the next idle time is guessed from the last one, as KVM's halt polling
    does: times 2 and by 2. `longest_ns` is the most that a wake may be delayed.
    """

    def __init__(self, longest_ns: int, first_ns: int = 50_000, least_ns: int = 20_000) -> None:
        self.longest_ns = longest_ns
        self._least_ns = min(least_ns, longest_ns)
        self.current_ns = min(first_ns, longest_ns)
        self._ended_ns: int | None = None

    def begin(self, now_ns: int) -> int:
        """The guest is idle, and a slice begins; its length."""
        if self._ended_ns is not None:
            if now_ns - self._ended_ns > _BUSY_NS:
                self._shrink()
            else:
                self.current_ns = min(2 * self.current_ns, self.longest_ns)
        return self.current_ns

    def end(self, now_ns: int, woken: bool) -> None:
        """It is over; `woken`: the guest has been woken meanwhile."""
        self._ended_ns = now_ns
        if woken:
            self._shrink()

    def _shrink(self) -> None:
        self.current_ns = max(self.current_ns // 2, self._least_ns)


class HostTime:
    """The host's clock, or another that moves by itself."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.now = clock
        self.step = clock  # the time after a step


class HandTime:
    """A clock that stands, but for what each step of work is said to cost: the same on any host."""

    def __init__(self, now_ns: int, step_ns: int) -> None:
        self._now_ns = now_ns
        self._step_ns = step_ns

    def now(self) -> int:
        """The time, in ns."""
        return self._now_ns

    def step(self) -> int:
        """A step has been made; the time after it, in ns."""
        self._now_ns += self._step_ns
        return self._now_ns


Time = HostTime | HandTime
