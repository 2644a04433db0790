"""The tasks that wait, and which of them is next."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import Final

from vmm.work.task import NEVER, Priority, Task, TaskState

#: Entries of cancelled tasks that a heap may hold besides as many as it has tasks.
_STALE: Final = 64

_Entry = tuple[int, int, Task]


class TaskQueue:
    """Tasks by priority, in each by when they are due, those due alike in order of arrival.

    From any thread. Every task is in one state at a time, and each change of it is made here, with
    the lock held: that is why a task is done once, whoever takes, cancels or closes.
    """

    def __init__(self, bound_ns: int) -> None:
        self._bound_ns = bound_ns
        self._heaps: dict[Priority, list[_Entry]] = {priority: [] for priority in Priority}
        self._counts = dict.fromkeys(Priority, 0)
        self._numbers = itertools.count()
        self._running = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def bound_ns(self) -> int:
        """How long a NORMAL task waits for an idle guest."""
        return self._bound_ns

    @bound_ns.setter
    def bound_ns(self, bound_ns: int) -> None:
        with self._lock:
            self._bound_ns = bound_ns
            for priority, heap in self._heaps.items():
                entries = [entry for entry in heap if entry[2].state is TaskState.QUEUED]
                for _, _, task in entries:
                    task.set_due(bound_ns)
                again = [(task.due_ns, number, task) for _, number, task in entries]
                heapq.heapify(again)
                self._heaps[priority] = again

    def put(self, task: Task) -> bool:
        """Take in a new task. False: the queue is closed, and so is the task."""
        with self._lock:
            if self._closed:
                task.state = TaskState.CLOSED
                return False
            self._push(task)
            return True

    def put_back(self, task: Task, now_ns: int) -> bool:
        """Have a running task wait for its next slice. False when it is to end instead."""
        with self._lock:
            if task.cancelling or self._closed:
                return False
            self._running -= 1
            task.state = TaskState.QUEUED
            task.waiting_since_ns = now_ns
            self._push(task)
            return True

    def take(self, now_ns: int, lowest: Priority) -> Task | None:
        """The next task of at least this priority, or of any that is due. It is RUNNING then.

        HIGH first, then what is due, then by priority.
        """
        with self._lock:
            heap = self._choose(now_ns, lowest)
            if heap is None:
                return None
            task = heapq.heappop(heap)[2]
            task.state = TaskState.RUNNING
            self._counts[task.priority] -= 1
            self._running += 1
            return task

    def finish(self, task: Task, state: TaskState) -> None:
        """A running task has come to its end."""
        with self._lock:
            self._running -= 1
            task.state = state

    def cancel(self, task: Task) -> TaskState:
        """Have a task not go on; the state that it was in.

        One that was QUEUED is CANCELLED now. One that was RUNNING will be when it next yields; a
        callable runs to its end.
        """
        with self._lock:
            before = task.state
            if before is TaskState.QUEUED:
                task.state = TaskState.CANCELLED
                self._counts[task.priority] -= 1
                heap = self._heaps[task.priority]
                if len(heap) > 2 * self._counts[task.priority] + _STALE:
                    heap[:] = [entry for entry in heap if entry[2].state is TaskState.QUEUED]
                    heapq.heapify(heap)
            elif before is TaskState.RUNNING:
                task.cancelling = True
            return before

    def close(self) -> list[Task]:
        """Take in no more; the tasks that waited, CLOSED now, in order of arrival."""
        with self._lock:
            self._closed = True
            entries = [
                entry
                for heap in self._heaps.values()
                for entry in heap
                if entry[2].state is TaskState.QUEUED
            ]
            for heap in self._heaps.values():
                heap.clear()
            self._counts = dict.fromkeys(Priority, 0)
            for _, _, task in entries:
                task.state = TaskState.CLOSED
            return [task for _, _, task in sorted(entries, key=lambda entry: entry[1])]

    def ready(self, now_ns: int, lowest: Priority) -> bool:
        """Whether `take` would give a task."""
        with self._lock:
            return self._choose(now_ns, lowest) is not None

    def next_due(self, grace_ns: int = 0) -> int:
        """When the first of the tasks is due, in ns; NEVER when none ever is.

        HIGH ones are as soon as they wait, or so much later.
        """
        with self._lock:
            high = self._top_due(Priority.HIGH) + grace_ns
            return min(high, self._top_due(Priority.NORMAL), self._top_due(Priority.LOW), NEVER)

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return sum(self._counts.values())

    @property
    def running(self) -> int:
        """How many tasks somebody has taken."""
        return self._running

    @property
    def urgent(self) -> bool:
        """A HIGH task waits."""
        return self._counts[Priority.HIGH] > 0

    @property
    def has_low(self) -> bool:
        """A LOW task waits."""
        return self._counts[Priority.LOW] > 0

    def _push(self, task: Task) -> None:
        task.set_due(self._bound_ns)
        heapq.heappush(self._heaps[task.priority], (task.due_ns, next(self._numbers), task))
        self._counts[task.priority] += 1

    def _top_due(self, priority: Priority) -> int:
        """When the first task of a priority is due. Entries of cancelled ones above it go."""
        heap = self._heaps[priority]
        while heap and heap[0][2].state is not TaskState.QUEUED:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def _choose(self, now_ns: int, lowest: Priority) -> list[_Entry] | None:
        due = {priority: self._top_due(priority) for priority in Priority}
        if self._counts[Priority.HIGH]:
            return self._heaps[Priority.HIGH]
        first = min((Priority.NORMAL, Priority.LOW), key=due.__getitem__)
        if due[first] <= now_ns:
            return self._heaps[first]
        for priority in (Priority.NORMAL, Priority.LOW):
            if priority >= lowest and self._counts[priority]:
                return self._heaps[priority]
        return None
