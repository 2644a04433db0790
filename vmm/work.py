"""Deferred work: what the VMM has to do for its guest and does while the guest is idle.

The flow is the one that A. Graf's reply to the RFC expects. Work arrives, and the intercept of HLT
and MWAIT is turned on; the guest's next idle instruction exits; the vCPU's own host thread does the
work, turns the intercept off and enters the guest again. Two things bound the wait: a vCPU that is
asleep already is kicked at once, and when none was idle within the bound, a timer kicks one out of
the guest.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic_ns
from types import TracebackType
from typing import Protocol, Self

from hdrh.histogram import HdrHistogram

#: Latencies are kept from 1 ns to an hour with three significant digits.
_LONGEST_NS = 3600 * 10**9

#: How many failures are kept word for word; all are counted.
_FAILURES_KEPT = 16


class Server(Protocol):
    """Who does the work: the loop of a vCPU. All of this is called from any thread."""

    @property
    def asleep(self) -> bool:
        """The guest of this vCPU is idle and waits."""

    def request_attention(self) -> None:
        """Look at the queue when the guest is next idle."""

    def kick(self) -> None:
        """Come out of the guest, or out of sleep, now."""


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work: called once, without arguments, on a vCPU's thread."""

    run: Callable[[], object]
    name: str
    enqueued_ns: int = field(default_factory=monotonic_ns)


@dataclass(frozen=True, slots=True)
class WorkReport:
    """What became of the tasks: `done` returned, `failed` raised.

    Latencies are ns from the submission of a task that is done to its end, to three digits; 0 when
    there is none. `failures` are the last messages, with the tasks' names.
    """

    done: int
    failed: int
    pending: int
    latency_p50_ns: int
    latency_p99_ns: int
    latency_max_ns: int
    failures: tuple[str, ...]


class WorkQueue:
    """Tasks in order of arrival, for any of the attached servers. Any thread may submit.

    `bound_seconds` is how long a task waits for an idle guest. Used as a context manager, once, the
    queue runs the timer that enforces it; the timer's thread sleeps while nothing is queued.
    """

    def __init__(self, bound_seconds: float = 0.010) -> None:
        if bound_seconds <= 0:
            raise ValueError(f"bound_seconds must be positive, not {bound_seconds}")
        self.bound_seconds = bound_seconds
        #: Told of each task's name, and when it began and ended (`monotonic_ns`), by who did it.
        self.observers: list[Callable[[str, int, int], object]] = []
        self._tasks: deque[Task] = deque()
        self._servers: list[Server] = []
        self._turns: Iterator[Server] = iter(())
        self._latency = HdrHistogram(1, _LONGEST_NS, 3)
        self._failed = 0
        self._failures: deque[str] = deque(maxlen=_FAILURES_KEPT)
        self._lock = threading.Lock()
        self._wake_timer = threading.Condition()
        self._timer_runs = False  # it has a task to watch, and needs no notification of the next
        self._closing = False
        self._timer = threading.Thread(target=self._enforce_bound, name="work timer", daemon=True)

    def attach(self, server: Server) -> None:
        """Let `server` do work. All are attached before the first `submit`."""
        self._servers.append(server)
        self._turns = itertools.cycle(self._servers)

    def __len__(self) -> int:
        return len(self._tasks)

    def submit(self, run: Callable[[], object], name: str = "") -> None:
        """Have `run` called in idle time. `name` is what a failure is reported under."""
        self._tasks.append(Task(run, name or repr(run)))
        # In this order no request is lost: a server lowers its flag before it looks at the queue.
        for server in self._servers:
            server.request_attention()
        sleeper = self._sleeper()
        if sleeper is not None:
            sleeper.kick()
        if not self._timer_runs:
            with self._wake_timer:
                self._wake_timer.notify()

    def serve(self) -> None:
        """Do what is queued now. Tasks that these tasks submit wait for the next time."""
        for _ in range(len(self._tasks)):
            try:
                task = self._tasks.popleft()
            except IndexError:  # another vCPU took it
                return
            began_ns = monotonic_ns()
            try:
                task.run()
            except Exception as error:  # whatever it is, the guest does not stop for it
                with self._lock:
                    self._failed += 1
                    self._failures.append(f"{task.name}: {type(error).__name__}: {error}")
            else:
                latency_ns = monotonic_ns() - task.enqueued_ns
                with self._lock:
                    self._latency.record_value(min(latency_ns, _LONGEST_NS))
            for observer in self.observers:
                observer(task.name, began_ns, monotonic_ns())

    def report(self) -> WorkReport:
        """What has been done so far."""
        with self._lock:
            return WorkReport(
                done=self._latency.get_total_count(),
                failed=self._failed,
                pending=len(self._tasks),
                latency_p50_ns=self._latency.get_value_at_percentile(50),
                latency_p99_ns=self._latency.get_value_at_percentile(99),
                latency_max_ns=self._latency.get_max_value(),
                failures=tuple(self._failures),
            )

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._wake_timer:
            self._closing = True
            self._wake_timer.notify()
        self._timer.join()

    def _sleeper(self) -> Server | None:
        return next((server for server in self._servers if server.asleep), None)

    def _enforce_bound(self) -> None:
        bound_ns = int(self.bound_seconds * 1e9)
        with self._wake_timer:
            while not self._closing:
                # The flag first, the queue second. `submit` goes the other way: one sees the other.
                self._timer_runs = False
                try:
                    oldest = self._tasks[0]
                except IndexError:
                    self._wake_timer.wait()
                    continue
                self._timer_runs = True
                left_ns = oldest.enqueued_ns + bound_ns - monotonic_ns()
                if left_ns > 0:
                    self._wake_timer.wait(left_ns / 1e9)
                else:
                    # In turn, because the thread of a vCPU may be held up by a long task.
                    (self._sleeper() or next(self._turns)).kick()
                    self._wake_timer.wait(self.bound_seconds)
