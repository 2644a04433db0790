"""Looks for lost wakes of all vCPUs of a machine while it runs."""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns
from typing import Final

from bench.laboratory.mailbox import Mailbox
from bench.laboratory.wall.running import Running
from bench.starvation import Starvation
from bench.watchdog import Watchdog

#: How often it is looked, far below a watchdog's patience of 100 ms.
LOOK_SECONDS: Final = 0.005


class _Waiter:
    """One vCPU's part of the mailbox."""

    def __init__(self, mailbox: Mailbox, vcpu: int) -> None:
        self._mailbox = mailbox
        self._vcpu = vcpu

    @property
    def need_resched(self) -> bool:
        return self._mailbox.need_resched(self._vcpu)

    @property
    def handoffs(self) -> int:
        return self._mailbox.wakes(self._vcpu)

    @property
    def spurious(self) -> int:
        return self._mailbox.spurious(self._vcpu)


class Watch:
    """A watchdog for each vCPU. It kicks a vCPU out of MWAIT once its wake is lost."""

    def __init__(self, running: Running) -> None:
        machine = running.machine
        self._waiters = [
            _Waiter(running.mailbox, number) for number in range(running.mailbox.vcpus)
        ]
        self._watchdogs = [
            Watchdog(loop, waiter, starved=Starvation(partial(getattr, thread, "native_id")))
            for loop, waiter, thread in zip(
                machine.loops, self._waiters, machine.threads, strict=True
            )
        ]

    def look(self) -> None:
        """Look at all of them, once."""
        now = perf_counter_ns()
        for watchdog in self._watchdogs:
            watchdog.look(now)

    def doubts(self) -> dict[int, int]:
        """Those that sleep although they have been woken, with the wakes that each has noticed."""
        return {
            number: waiter.handoffs
            for number, (waiter, watchdog) in enumerate(
                zip(self._waiters, self._watchdogs, strict=True)
            )
            if watchdog.in_doubt
        }

    @property
    def lost(self) -> int:
        """Wakes that got lost so far."""
        return sum(watchdog.lost for watchdog in self._watchdogs)
