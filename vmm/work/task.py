"""One piece of deferred work, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum, StrEnum
from typing import Any, Final

#: Long work: it yields where it can be set aside, and gets the ns until the slice ends. What it
#: yields does not matter.
LongWork = Generator[Any, int, Any]

#: What can be submitted: called once, or resumed until it ends. A callable that returns a generator
#: is long work too.
Work = Callable[[], object] | LongWork

#: A time that never comes, in ns.
NEVER: Final = 1 << 62


class Priority(IntEnum):
    """Whose time a task may take."""

    #: That of an idle guest, and no other until its deadline presses.
    LOW = 0
    #: That of an idle guest; when none has been idle for the fallback bound, anybody's.
    NORMAL = 1
    #: A running guest's, at once.
    HIGH = 2


class TaskState(StrEnum):
    """Where a task is; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it raised, or spent its budget
    CANCELLED = "cancelled"
    CLOSED = "closed"  # the machine ended first


class Task:
    """A piece of work, its terms and its account. `submit` makes it; all times are in ns.

    `budget_ns` is how much host time it may cost, 0 for no limit; `deadline_ns` when it is to be
    done. `due_ns` is from when on it does not wait for an idle guest any more. `spent_ns` is what
    it has cost. `error` is what it raised.
    """

    __slots__ = (
        "budget_ns",
        "cancelling",
        "deadline_ns",
        "due_ns",
        "enqueued_ns",
        "error",
        "generator",
        "name",
        "priority",
        "resumed",
        "run",
        "spent_ns",
        "state",
        "waiting_since_ns",
    )

    def __init__(
        self,
        work: Work,
        name: str,
        priority: Priority,
        now_ns: int,
        budget_ns: int,
        deadline_ns: int,
    ) -> None:
        self.run: Callable[[], object] | None = None
        self.generator: LongWork | None = None
        if isinstance(work, Generator):
            self.generator = work
        elif callable(work):
            self.run = work
        else:
            raise TypeError(f"work has to be a callable or a generator, not {work!r}")
        self.name = name or repr(work)
        self.priority = priority
        self.budget_ns = budget_ns
        self.deadline_ns = deadline_ns
        self.enqueued_ns = self.waiting_since_ns = now_ns
        self.due_ns = NEVER
        self.spent_ns = 0
        self.resumed = False
        self.cancelling = False
        self.state = TaskState.QUEUED
        self.error: BaseException | None = None

    def set_due(self, bound_ns: int) -> None:
        """Reckon `due_ns`: NORMAL waits for the bound, none so long that its deadline is missed."""
        latest_start = self.deadline_ns - max(0, self.budget_ns - self.spent_ns)
        if self.priority is Priority.HIGH:
            self.due_ns = self.waiting_since_ns
        elif self.priority is Priority.NORMAL:
            self.due_ns = min(self.waiting_since_ns + bound_ns, latest_start)
        else:
            self.due_ns = min(latest_start, NEVER)

    @property
    def over_budget(self) -> bool:
        """It has cost more than it may."""
        return 0 < self.budget_ns < self.spent_ns

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {self.priority.name}, {self.state})"
