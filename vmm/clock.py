"""Guest time and the deadlines in it: one face, two clocks.

`WallClock` follows the host, and one thread serves every deadline. `VirtualClock` stands still
until a scheduler moves it, and serves each deadline as it comes to it.

`Clock.lock` is the one lock of a machine's devices. Their callbacks run with it held, ports and
memory-mapped registers are accessed with it held, and whoever calls a device from a thread of its
own takes it. So devices need no locks, and there is no order of locks to get wrong.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic_ns
from types import TracebackType
from typing import Self

NANOSECONDS = 10**9

#: How long the host thread of a wall clock rests between two rounds of deadlines, in ns. A guest
#: that programs a faster timer gets its ticks together, and cannot keep the host from its work.
SHORTEST_REST = 50_000

#: What the calendar of a virtual machine shows at guest time 0.
VIRTUAL_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Timer:
    """One callback of a device, with at most one deadline at a time. `Clock.timer` makes it."""

    def __init__(self, clock: Clock, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._callback = callback
        self.deadline: int | None = None

    def at(self, deadline: int) -> None:
        """Have the callback made at this guest time in ns, and at none asked for before.

        One that is past already is as good as now.
        """
        with self._clock.lock:
            self.deadline = deadline
            self._clock._deadline_set(deadline)

    def cancel(self) -> None:
        """Have no callback made."""
        if self.deadline is not None:
            with self._clock.lock:
                self.deadline = None

    def fire(self) -> None:
        """Make the callback: the clock, at the deadline, with the lock held."""
        self.deadline = None
        self._callback()


class Clock(ABC):
    """Guest time in ns, and timers. `epoch` is the calendar's time at guest time 0.

    Deadlines are served in order of time; of equal ones the timer that was made first comes first,
    whatever the order in which they were set.
    """

    def __init__(self, epoch: datetime) -> None:
        self.epoch = epoch
        self.lock = threading.RLock()
        self._timers: list[Timer] = []

    @abstractmethod
    def now(self) -> int:
        """Guest time in ns. From any thread."""

    def timer(self, callback: Callable[[], object]) -> Timer:
        """A timer without a deadline. Devices make theirs when they are made, in a fixed order."""
        timer = Timer(self, callback)
        self._timers.append(timer)
        return timer

    def begin_at(self, time: int) -> None:
        """Have it be `time`, of a machine that is restored; no timer has a deadline then."""
        with self.lock:
            for timer in self._timers:
                timer.cancel()
            self._set_time(time)

    @abstractmethod
    def _set_time(self, time: int) -> None:
        """Go on from `time`; the lock is held."""

    @property
    def next_deadline(self) -> int | None:
        """The earliest deadline, None when there is none."""
        return min((t.deadline for t in self._timers if t.deadline is not None), default=None)

    def _due(self, time: int) -> Timer | None:
        """The timer to be served first of those whose deadline is not after `time`."""
        deadline = self.next_deadline
        if deadline is None or deadline > time:
            return None
        return next(timer for timer in self._timers if timer.deadline == deadline)

    @abstractmethod
    def _deadline_set(self, deadline: int) -> None:
        """A timer has got this deadline; the lock is held."""


class VirtualClock(Clock):
    """Guest time that moves by `advance` and in no other way, so that every run is alike."""

    def __init__(self, start: int = 0, epoch: datetime = VIRTUAL_EPOCH) -> None:
        super().__init__(epoch)
        self._now = start

    def now(self) -> int:
        """Guest time in ns, in a callback that of its deadline."""
        return self._now

    def advance(self, time: int) -> None:
        """Let time pass until `time`, and serve the deadlines up to it, each at its moment.

        Raises ValueError for a time that has passed.
        """
        with self.lock:
            if time < self._now:
                raise ValueError(f"guest time {time} has passed: it is {self._now}")
            while timer := self._due(time):
                self._now = max(self._now, timer.deadline or 0)
                timer.fire()
            self._now = time

    def _set_time(self, time: int) -> None:
        self._now = time

    def _deadline_set(self, deadline: int) -> None:
        """Nobody sleeps until it comes."""


class WallClock(Clock):
    """The host's monotonic clock, from `start` on. Its deadlines are served while it is used as a
    context manager, on a thread that sleeps between them.

    `failed` is told of an exception in a callback, which ends the thread.
    """

    def __init__(
        self,
        start: int = 0,
        epoch: datetime | None = None,
        failed: Callable[[BaseException], object] | None = None,
    ) -> None:
        super().__init__(epoch or datetime.now(UTC))
        self._zero = monotonic_ns() - start
        self._failed = failed
        self._changed = threading.Condition(self.lock)
        self._wakes_at: int | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def now(self) -> int:
        """Guest time in ns."""
        return monotonic_ns() - self._zero

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.lock:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _set_time(self, time: int) -> None:
        self._zero = monotonic_ns() - time

    def _deadline_set(self, deadline: int) -> None:
        if self._wakes_at is None or deadline < self._wakes_at:
            self._changed.notify()

    def _run(self) -> None:
        try:
            with self.lock:
                self._serve()
        except BaseException as failure:
            if self._failed is None:
                raise
            self._failed(failure)

    def _serve(self) -> None:
        rested = self.now()
        while not self._closing:
            self._wakes_at = self.next_deadline
            if self._wakes_at is None:
                self._changed.wait()
                continue
            self._wakes_at = max(self._wakes_at, rested)
            left = self._wakes_at - self.now()
            if left > 0:
                self._changed.wait(left / NANOSECONDS)
                continue
            for _ in self._timers:  # and no more in one round, although they set themselves anew
                if timer := self._due(self.now()):
                    timer.fire()
            rested = self.now() + SHORTEST_REST
