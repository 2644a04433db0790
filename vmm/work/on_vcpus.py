"""Deferred work on the vCPUs' own host threads, and nowhere else: as the RFC proposes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

from vmm.work.executor import Executor, Server
from vmm.work.task import NEVER, Priority, Task

#: What the timer waits for when it waits for nothing: later than any task is due.
_FOREVER: Final = NEVER + 1

#: A guest that never idles gives work that is due one slice in so many slices' time.
_SHARE: Final = 5


class VCPUExecutor(Executor):
    """No host thread more than there are vCPUs: work is done when one of them leaves its guest.

    The flow is that of A. Graf's reply to the RFC. Work arrives, and the intercept of HLT and MWAIT
    is turned on; the guest's next idle instruction exits; the vCPU's thread does a slice of the
    work, turns the intercept off if that was all, and enters the guest again. A vCPU that is asleep
    already is kicked at once. A timer bounds the wait when no guest idles. HIGH tasks preempt.
    """

    def __init__(
        self,
        bound_seconds: float = 0.010,
        wake_bound_seconds: float = 0.0004,
        *,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        super().__init__(bound_seconds, wake_bound_seconds, clock=clock)
        self._alarm = threading.Condition()
        self._alarm_ns = _FOREVER  # when the timer looks at the queue again of its own accord
        self._timer = threading.Thread(target=self._enforce_bound, name="work timer", daemon=True)

    def attend(self, server: Server, idle: bool) -> bool:
        """Do a slice of it now: any task when the guest is idle, else those that do not wait.

        Once a guest has been preempted for a NORMAL task, the others need not preempt it again.
        """
        if not idle:
            due = self._queue.ready(self._clock(), Priority.HIGH) and not self._queue.urgent
            lowest = Priority.NORMAL if due else Priority.HIGH
            self._slice(lowest, self._longest_ns, self._time)
        elif self._idle_slice(server) and self._queue.waiting:
            self._kick_sleeper(other_than=server)  # this one's guest has better things to do
        return self._queue.waiting > 0

    def _announce(self, task: Task) -> None:
        self._raise_attention()
        if not self._kick_sleeper() and task.priority is Priority.HIGH:
            self._kick_next()
        # HIGH ones have been announced; the timer is only to see to it that somebody came.
        sooner = task.due_ns < self._alarm_ns and task.priority is not Priority.HIGH
        if sooner or self._alarm_ns == _FOREVER:
            with self._alarm:
                self._alarm.notify()

    def _kick_next(self) -> None:
        """Have the next vCPU come out. In turn: a thread may be held up by a task."""
        turn = next(self._turns, None)
        if turn is not None:
            turn.kick()

    def _start(self) -> None:
        self._timer.start()

    def _stop(self) -> None:
        with self._alarm:
            self._alarm.notify()
        self._timer.join()

    def _enforce_bound(self) -> None:
        """The timer's thread. It sleeps while nothing is queued."""
        with self._alarm:
            while not self._closing:
                # First this, then the look at the queue; `_announce` goes the other way round.
                self._alarm_ns = _FOREVER
                if not self._queue.waiting:
                    self._alarm.wait()
                    continue
                now = self._clock()
                wait = self._queue.bound_ns
                due = self._queue.next_due(grace_ns=wait)
                if due > now:
                    wait = min(wait, due - now)
                else:
                    wait = min(wait, _SHARE * self._longest_ns)
                    if not self._kick_sleeper():
                        self._kick_next()
                self._alarm_ns = now + wait
                self._alarm.wait(wait / 1e9)
                # One that was falling asleep when work arrived has been passed over.
                if self._queue.waiting:
                    self._kick_sleeper()
