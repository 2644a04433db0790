"""Deferred work on host threads of its own; alone, or with the help of idle vCPUs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic_ns

from vmm.work.executor import Executor, Server
from vmm.work.task import Priority, Task


class WorkerExecutor(Executor):
    """Threads that own the queue; the host's scheduler divides the cores among them and the vCPUs.

    What is not LOW begins at once, whether a guest is idle or not: there is nothing to preempt and
    no fallback. LOW tasks are done while a vCPU sleeps. One whose MWAIT does not sleep in the core
    is asked to come out of the guest when it is idle next, and so grants one slice at a time.
    """

    def __init__(
        self,
        bound_seconds: float = 0.010,
        wake_bound_seconds: float = 0.0004,
        *,
        workers: int = 1,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        super().__init__(bound_seconds, wake_bound_seconds, clock=clock)
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self._news = threading.Condition()
        self._granted = False
        self._threads = tuple(
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True)
            for number in range(workers)
        )

    def attend(self, server: Server, idle: bool) -> bool:
        """Tell the workers that a guest is idle; the work is theirs."""
        if idle and self._queue.has_low:
            with self._news:
                self._granted = True
                self._news.notify()
        return False

    def _announce(self, task: Task) -> None:
        if task.priority is Priority.LOW:
            self._raise_attention()
        with self._news:
            self._news.notify()

    def _start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _stop(self) -> None:
        with self._news:
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _idle(self) -> bool:
        """Whether LOW tasks may run for a slice."""
        granted, self._granted = self._granted, False
        return granted or any(server.asleep for server in self._servers)

    def _work(self) -> None:
        """A worker's thread."""
        while not self._closing:
            lowest = Priority.LOW if self._queue.has_low and self._idle() else Priority.NORMAL
            if self._slice(lowest, self._longest_ns, self._time):
                continue
            with self._news:
                if self._closing or self._granted:
                    continue
                now = self._clock()
                if self._queue.ready(now, Priority.NORMAL):  # it came behind the look above
                    continue
                if not self._queue.waiting:
                    self._news.wait()
                    continue
                # LOW ones wait. A guest that is idle next says so, but one that sleeps in the core
                # does not.
                self._raise_attention()
                wait = min(self._queue.bound_ns, self._queue.next_due() - now)
                self._news.wait(wait / 1e9)


class HelperExecutor(WorkerExecutor):
    """The same, and vCPUs do a slice in their idle time whenever work waits.

    One that sleeps is disturbed only when more tasks wait than there are workers.
    """

    def attend(self, server: Server, idle: bool) -> bool:
        """Do a slice of it when the guest is idle."""
        if idle:
            self._idle_slice(server)
        return self._queue.waiting > 0

    def _announce(self, task: Task) -> None:
        self._raise_attention()
        with self._news:
            self._news.notify()
        if self._queue.waiting > len(self._threads):
            self._kick_sleeper()
