"""What all executors of deferred work share: submission, the steps of a task, the account.

An executor says who does the work. Its rules against lost work are these. A task is put into the
queue first, and whoever may do it is told afterwards; a server lowers its flag first, and looks at
the queue last. So one of the two sees the other. Whatever slips through nevertheless, as a vCPU
that falls asleep between the two, is found after the fallback bound by whoever enforces it.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from time import monotonic_ns
from types import TracebackType
from typing import Final, Protocol, Self

from vmm.work.queue import TaskQueue
from vmm.work.report import Account, WorkReport
from vmm.work.slices import HandTime, HostTime, SliceLength, Time
from vmm.work.task import NEVER, Priority, Task, TaskState, Work

#: What a step is taken to cost when time is given from outside, in ns.
STEP_NS: Final = 10_000

#: Is told of each piece of work: the task's name, and when that began and ended, in ns of the
#: host's monotonic clock; on the thread that did it.
Observer = Callable[[str, int, int], object]


class BudgetError(RuntimeError):
    """A task has cost more than it may."""


class Server(Protocol):
    """Whose idle time it is: the loop of a vCPU. All of this is called from any thread."""

    @property
    def asleep(self) -> bool:
        """The guest of this vCPU is idle and waits, and nobody works in the time."""

    @property
    def woken(self) -> bool:
        """The guest, which was idle, has something to run for. Not every way to idle can tell."""

    def request_attention(self) -> None:
        """Look at the queue when the guest is next idle."""

    def kick(self) -> None:
        """Come out of the guest, or out of sleep, now."""


class Executor(ABC):
    """Does tasks in the idle time of the attached servers, or besides. Any thread may submit.

    `bound_seconds` is the fallback: how long a NORMAL task waits for an idle guest.
    `wake_bound_seconds` is the longest slice: the most by which work may delay a guest that wakes,
    if its tasks yield in time. `clock` gives ns. Used as a context manager, once, while the guest
    runs; afterwards `close` ends the tasks that are left.

    Raises ValueError for a bound that is not positive.
    """

    def __init__(
        self,
        bound_seconds: float = 0.010,
        wake_bound_seconds: float = 0.0004,
        *,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        self._queue = TaskQueue(_nanoseconds("bound_seconds", bound_seconds))
        self._longest_ns = _nanoseconds("wake_bound_seconds", wake_bound_seconds)
        self._clock = clock
        self._time: Time = HostTime(clock)
        self._servers: list[Server] = []
        self._slices: dict[Server, SliceLength] = {}
        self._turns: Iterator[Server] = iter(())
        self._account = Account()
        self._closing = False
        self.observers: list[Observer] = []

    @property
    def bound_seconds(self) -> float:
        """How long a NORMAL task waits for an idle guest. May be set at any time."""
        return self._queue.bound_ns / 1e9

    @bound_seconds.setter
    def bound_seconds(self, seconds: float) -> None:
        self._queue.bound_ns = _nanoseconds("bound_seconds", seconds)

    @property
    def wake_bound_seconds(self) -> float:
        """The longest slice. May be set until the guest runs."""
        return self._longest_ns / 1e9

    @wake_bound_seconds.setter
    def wake_bound_seconds(self, seconds: float) -> None:
        self._longest_ns = _nanoseconds("wake_bound_seconds", seconds)
        self._slices = {server: SliceLength(self._longest_ns) for server in self._servers}

    def attach(self, server: Server) -> None:
        """Let a vCPU's idle time be used. All are attached before the first `submit`."""
        self._servers.append(server)
        self._slices[server] = SliceLength(self._longest_ns)
        self._turns = itertools.cycle(self._servers)

    def submit(
        self,
        work: Work,
        name: str = "",
        *,
        priority: Priority = Priority.NORMAL,
        budget: float = 0,
        deadline: float | None = None,
    ) -> Task:
        """Have `work` done: a callable, or a generator that is resumed slice by slice.

        A callable that returns a generator is resumed too. `name` is what a failure is reported
        under. `budget` is how many seconds of the host it may cost, 0 for no limit: a generator
        that has spent it is closed, and has failed. `deadline` is in how many seconds it is to be
        done; when no more than the budget is left until then, it does not wait for an idle guest
        any more, whatever its priority.

        Raises TypeError for other work, ValueError for a budget or deadline below 0.
        """
        if budget < 0 or (deadline is not None and deadline < 0):
            raise ValueError(f"budget {budget} and deadline {deadline} must not be below 0 seconds")
        now = self._clock()
        until = NEVER if deadline is None else now + int(deadline * 1e9)
        task = Task(work, name, priority, now, int(budget * 1e9), until)
        if self._queue.put(task):
            self._announce(task)
        else:
            self._close_generator(task)
            self._account.ended(task, TaskState.CLOSED, now)
        return task

    def cancel(self, task: Task) -> bool:
        """Have a task not go on. False when it has ended, or is a callable under way.

        A generator is closed, so that its `finally` runs: here and now, or by whoever runs it when
        it next yields.
        """
        before = self._queue.cancel(task)
        if before is TaskState.QUEUED:
            self._close_generator(task)
            self._account.ended(task, TaskState.CANCELLED, self._clock())
        return before is TaskState.QUEUED or (
            before is TaskState.RUNNING and task.generator is not None
        )

    def __len__(self) -> int:
        """How many tasks have not ended."""
        return self._queue.waiting + self._queue.running

    def report(self) -> WorkReport:
        """What has been done so far."""
        return self._account.report(len(self))

    @abstractmethod
    def attend(self, server: Server, idle: bool) -> bool:
        """A vCPU has come out of its guest for work, on its own thread: `idle`, or preempted.

        Whether it shall come again when its guest is next idle.
        """

    def serve(self, now: int, idle: bool = True, step_ns: int = STEP_NS) -> int:
        """Do a slice's work on this thread, at the time `now` in ns, which is given from outside.

        For a scheduler in virtual time. Each step, of a callable or from yield to yield, is said
        to cost `step_ns`; what all of them cost is returned. `idle`: some guest is. `next_due` says
        when to come at the latest.
        """
        time = HandTime(now, step_ns)
        self._slice(Priority.LOW if idle else Priority.HIGH, self._longest_ns, time)
        return time.now() - now

    @property
    def next_due(self) -> int | None:
        """From when on the first of the tasks does not wait for an idle guest; None for never."""
        due = self._queue.next_due()
        return None if due >= NEVER else due

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self._stop()

    def close(self) -> None:
        """End what is left, when nobody works any more: generators are closed."""
        self._closing = True
        for task in self._queue.close():
            self._close_generator(task)
            self._account.ended(task, TaskState.CLOSED, self._clock())

    @abstractmethod
    def _announce(self, task: Task) -> None:
        """A task has been put into the queue: tell those who may do it."""

    @abstractmethod
    def _start(self) -> None:
        """Start the threads."""

    @abstractmethod
    def _stop(self) -> None:
        """End the threads; they are gone on return."""

    def _raise_attention(self) -> None:
        for server in self._servers:
            server.request_attention()

    def _kick_sleeper(self, other_than: Server | None = None) -> bool:
        """Have a vCPU that sleeps come out; whether there is one."""
        for server in self._servers:
            if server is not other_than and server.asleep:
                server.kick()
                return True
        return False

    def _length_of(self, server: Server) -> SliceLength:
        """That of the slices on a vCPU."""
        try:
            return self._slices[server]
        except KeyError:  # it works without being asked to
            return self._slices.setdefault(server, SliceLength(self._longest_ns))

    def _idle_slice(self, server: Server) -> bool:
        """Work in the idle time of a vCPU. Whether its guest has been woken meanwhile."""
        begin = self._clock()
        length = self._length_of(server)
        worked = self._slice(Priority.LOW, length.begin(begin), self._time, server)
        end, woken = self._clock(), server.woken
        length.end(end, woken)
        if worked:
            self._account.held(end - begin)
        return woken

    def _slice(
        self, lowest: Priority, length_ns: int, time: Time, server: Server | None = None
    ) -> bool:
        """Do tasks of at least this priority, and those due, until the slice is over.

        HIGH tasks go on behind its end. A `server` that wakes ends it. Whether there was any task.
        """
        worked = False
        until = time.now() + length_ns
        while not self._closing:
            task = self._queue.take(time.now(), lowest)
            if task is None:
                break
            worked = True
            self._run(task, until, time, server)
            over = time.now() >= until or (server is not None and server.woken)
            if over and not self._queue.urgent:
                break
        return worked

    def _run(self, task: Task, until: int, time: Time, server: Server | None) -> None:
        """Call a task, or resume it until the slice is over. It is never left RUNNING."""
        began_ns = monotonic_ns() if self.observers else 0
        now = time.now()
        high = task.priority is Priority.HIGH
        final: TaskState | None = None
        try:
            while True:
                step_begin = now
                ended = self._step(task, self._longest_ns if high else max(0, until - now))
                now = time.step()
                task.spent_ns += now - step_begin
                self._account.step(now - step_begin, self._longest_ns)
                if ended:
                    final = TaskState.DONE
                    break
                if task.over_budget:
                    final = TaskState.FAILED
                    self._close_generator(task)
                    spent, budget = task.spent_ns / 1e6, task.budget_ns / 1e6
                    raise BudgetError(f"cost {spent:.3f} ms, with a budget of {budget:.3f} ms")
                if self._may_go_on(task, now < until, server):
                    continue
                if not self._queue.put_back(task, now):
                    self._close_generator(task)
                    final = TaskState.CANCELLED if task.cancelling else TaskState.CLOSED
                break
        except BaseException as error:  # whatever it is, the guest does not stop for it
            if final is None:  # the step has raised, and took its time all the same
                now = time.step()
            final, task.error = TaskState.FAILED, error
            if isinstance(error, KeyboardInterrupt):  # of a scheduler on the main thread
                raise
        finally:
            # Without an end it belongs to whoever takes it next, perhaps by now.
            for observer in self.observers:
                observer(task.name, began_ns, monotonic_ns())
            if final is not None:
                self._account.ended(task, final, now)
                self._queue.finish(task, final)

    def _may_go_on(self, task: Task, in_time: bool, server: Server | None) -> bool:
        """Whether a generator that has yielded is resumed at once."""
        if self._closing or task.cancelling:
            return False
        if task.priority is Priority.HIGH:
            return True
        return in_time and not self._queue.urgent and not (server is not None and server.woken)

    def _step(self, task: Task, left_ns: int) -> bool:
        """Call the task or resume it once, with what is left of the slice. Whether it has ended."""
        if task.generator is None:
            assert task.run is not None
            result = task.run()
            if not isinstance(result, Generator):
                return True
            task.generator = result
            return False
        try:
            if task.resumed:
                task.generator.send(left_ns)
            else:
                task.resumed = True
                next(task.generator)
        except StopIteration:
            return True
        return False

    def _close_generator(self, task: Task) -> None:
        if task.generator is None:
            return
        try:
            task.generator.close()
        except BaseException as error:  # its `finally` belongs to the task as well
            task.error = error


def _nanoseconds(name: str, seconds: float) -> int:
    if not 0 < seconds < NEVER / 1e9:
        raise ValueError(f"{name} must be positive, and finite, not {seconds}")
    return max(1, int(seconds * 1e9))
