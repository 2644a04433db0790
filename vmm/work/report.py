"""What has become of the tasks: the account of an executor."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from hdrh.histogram import HdrHistogram

from vmm.work.task import Task, TaskState

#: Times are kept from 1 ns to an hour with three significant digits.
_LONGEST_NS: Final = 3600 * 10**9

#: How many failures are kept word for word; all are counted.
_FAILURES_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class WorkReport:
    """What became of the tasks: `done` returned, `failed` raised or spent their budget, `pending`
    are those that have not ended, or had not when the machine did.

    Latencies are ns from the submission of a task that is done to its end. `held` is how long a
    slice kept a vCPU out of its guest: the most by which it can have delayed a wake. Three digits
    each; 0 when there is none. `late` ended behind their deadline. `overruns` are steps that took
    longer than the longest slice, because they did not yield. `busy_ns` is the host time of all
    work. `failures` are the last messages, with the tasks' names.
    """

    done: int
    failed: int
    pending: int
    latency_p50_ns: int
    latency_p99_ns: int
    latency_max_ns: int
    failures: tuple[str, ...]
    cancelled: int = 0
    late: int = 0
    overruns: int = 0
    slices: int = 0
    busy_ns: int = 0
    held_p50_ns: int = 0
    held_p99_ns: int = 0
    held_max_ns: int = 0


class Account:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latency = HdrHistogram(1, _LONGEST_NS, 3)
        self._held = HdrHistogram(1, _LONGEST_NS, 3)
        self._ended = dict.fromkeys(TaskState, 0)
        self._failures: deque[str] = deque(maxlen=_FAILURES_KEPT)
        self._late = self._overruns = self._busy_ns = 0

    def step(self, nanoseconds: int, longest_ns: int) -> None:
        """A task has been called or resumed for so long; more than `longest_ns` is too long."""
        with self._lock:
            self._busy_ns += nanoseconds
            self._overruns += nanoseconds > longest_ns

    def held(self, nanoseconds: int) -> None:
        """A vCPU has been kept out of its guest for so long."""
        with self._lock:
            self._held.record_value(min(max(nanoseconds, 1), _LONGEST_NS))

    def ended(self, task: Task, state: TaskState, now_ns: int) -> None:
        """A task comes to an end in this state; `task.error` is what it raised, if anything."""
        with self._lock:
            self._ended[state] += 1
            if state is TaskState.DONE:
                latency_ns = now_ns - task.enqueued_ns
                self._latency.record_value(min(max(latency_ns, 1), _LONGEST_NS))
                self._late += now_ns > task.deadline_ns
            if task.error is not None:
                kind = type(task.error).__name__
                self._failures.append(f"{task.name}: {kind}: {task.error}")

    def report(self, unfinished: int) -> WorkReport:
        """The state of affairs, with so many tasks that have not ended."""
        with self._lock:
            latency, held = self._latency, self._held
            return WorkReport(
                done=self._ended[TaskState.DONE],
                failed=self._ended[TaskState.FAILED],
                pending=unfinished + self._ended[TaskState.CLOSED],
                latency_p50_ns=latency.get_value_at_percentile(50),
                latency_p99_ns=latency.get_value_at_percentile(99),
                latency_max_ns=latency.get_max_value(),
                failures=tuple(self._failures),
                cancelled=self._ended[TaskState.CANCELLED],
                late=self._late,
                overruns=self._overruns,
                slices=held.get_total_count(),
                busy_ns=self._busy_ns,
                held_p50_ns=held.get_value_at_percentile(50),
                held_p99_ns=held.get_value_at_percentile(99),
                held_max_ns=held.get_max_value(),
            )
