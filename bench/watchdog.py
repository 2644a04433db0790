"""Finds lost wakes: stores to the armed line that leave their waiter asleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Waiter(Protocol):
    """The vCPU that idles; a `vmm.loop.Loop` is one."""

    @property
    def asleep(self) -> bool:
        """It waits in MWAIT or HLT."""

    def kick(self) -> None:
        """Bring it out of MWAIT."""


class Mailbox(Protocol):
    """What is known of the waiter's progress; a `bench.pair.Pair` is one."""

    @property
    def need_resched(self) -> bool:
        """The waker is past its store, and the waiter has not noticed."""

    @property
    def handoffs(self) -> int:
        """Wakes noticed."""

    @property
    def spurious(self) -> int:
        """Returns from MWAIT without a wake."""


class Watchdog:
    """Counts the wakes that a waiter has not noticed after `patience_ns`, and kicks it each time.

    A wake is in doubt while the waiter is asleep although its flag is set: for some
    microseconds in every wake-up, for ever when the wake is lost. A kick from elsewhere in that
    time would hide a lost wake, so whoever may kick the waiter asks `in_doubt` first.

    Time in which the waiter is awake and `starved` of the host's CPUs does not count: it cannot
    notice anything then.
    """

    def __init__(
        self,
        waiter: Waiter,
        mailbox: Mailbox,
        patience_ns: int = 100_000_000,
        starved: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lost = 0
        self._waiter = waiter
        self._mailbox = mailbox
        self._patience_ns = patience_ns
        self._starved = starved
        self._doubt: tuple[int, int] | None = None  # the waiter's counters when a doubt was seen
        self._lasted_ns = 0
        self._looked_ns = 0

    @property
    def in_doubt(self) -> bool:
        """The waiter sleeps although it has been woken."""
        return self._waiter.asleep and self._mailbox.need_resched

    def look(self, now_ns: int) -> None:
        """Look once, at the time `now_ns`; to be called at intervals well below the patience."""
        progress = (self._mailbox.handoffs, self._mailbox.spurious)
        if not self.in_doubt:
            self._doubt = None
        elif progress != self._doubt:
            self._doubt = progress
            self._lasted_ns = 0
        elif not self._starved():
            self._lasted_ns += now_ns - self._looked_ns
            if self._lasted_ns >= self._patience_ns:
                self.lost += 1
                self._doubt = None
                self._waiter.kick()
        self._looked_ns = now_ns
