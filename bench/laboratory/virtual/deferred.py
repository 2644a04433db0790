"""Deferred work in the model: the three executors of `vmm.work`, and the time that they take.

Tasks come at a fixed rate, from outside. `vcpu`: whoever idles does a slice; one that sleeps is
kicked; what has waited for the fallback bound takes a slice in five from a vCPU that does not idle.
`workers`: a thread of its own does it, as the host's scheduler lets it. `helpers`: both.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from simpy.events import Event

from bench.laboratory.scenario import DeferredLoad
from bench.laboratory.virtual.clock import Process
from bench.laboratory.virtual.scheduler import HostThread
from vmm.work.slices import SliceLength

if TYPE_CHECKING:
    from bench.laboratory.virtual.machine import GuestMachine
    from bench.laboratory.virtual.vcpu_thread import VCPUThread

#: Those of `vmm.work.Executor`: how long a task waits for an idle guest, the longest slice, and a
#: slice in so many slices' time where no guest idles.
_BOUND_NS: Final = 10_000_000
_LONGEST_NS: Final = 400_000
_SHARE: Final = 5


@dataclass(slots=True, eq=False)
class _Task:
    submitted: int
    left_ns: int


class DeferredWork:
    """That of one machine. `latencies` are ns from submission to the end, of the tasks done."""

    def __init__(self, machine: GuestMachine, load: DeferredLoad | None, executor: str) -> None:
        self._machine = machine
        self._load = load
        self._queue: deque[_Task] = deque()
        self._on_vcpus = executor in ("vcpu", "helpers")
        self._next = 0
        self._slices = {thread: SliceLength(_LONGEST_NS) for thread in machine.threads}
        self.latencies: list[int] = []
        self.workers: tuple[Worker, ...] = ()
        if load is not None and executor != "vcpu":
            self.workers = (Worker(machine, self),)

    def start(self) -> None:
        """Let tasks come."""
        if self._load is not None:
            self._machine.host.clock.process(self._submit(self._load))

    def wanted(self, thread: VCPUThread) -> bool:
        """Whether a vCPU that idles is to do a slice."""
        return self._on_vcpus and bool(self._queue)

    def slice(self, thread: VCPUThread, *, idle: bool) -> Process:
        """On a vCPU's thread: tasks, one after the other, until the slice is over."""
        length = self._slices[thread]
        clock = thread.clock
        until = clock.now + (length.begin(clock.now) if idle else _LONGEST_NS)
        woken = False
        yield from thread.spend(thread.costs.task)
        while self._queue and not woken and clock.now < until:
            task = self._queue.popleft()
            while not woken and clock.now < until:
                yield from self.step(thread, task)
                if not task.left_ns:
                    break
                thread.vcpu.time = clock.now + thread.lag_ns
                woken = thread.vcpu.waiting == "hlt" and thread.vcpu.runnable
            else:
                self._queue.appendleft(task)
        if idle:
            length.end(clock.now, woken)

    def take(self) -> _Task | None:
        """The task that has waited longest."""
        return self._queue.popleft() if self._queue else None

    def step(self, thread: HostThread, task: _Task) -> Process:
        """A step of a task: until it can be set aside, or is done."""
        assert self._load is not None
        step_ns = min(self._load.step_ns, task.left_ns)
        yield from thread.compute(step_ns)
        task.left_ns -= step_ns
        if not task.left_ns:
            self.latencies.append(thread.clock.now - task.submitted)

    def _submit(self, load: DeferredLoad) -> Process:
        clock = self._machine.host.clock
        period_ns = max(1, round(1e9 / load.per_second))
        while True:
            yield clock.timeout(period_ns)
            task = _Task(clock.now, load.task_ns)
            self._queue.append(task)
            self._announce()
            if not self.workers:
                clock.call_at(clock.now + _BOUND_NS, partial(self._enforce, task))

    def _announce(self) -> None:
        for worker in self.workers:
            worker.wake(self._machine.host.costs.thread_wake)
        if self._on_vcpus and len(self._queue) > len(self.workers):
            costs = self._machine.host.costs
            for thread in self._machine.waiting:
                if thread.rests and not thread.attention:
                    thread.kicked()
                    thread.wake(costs.kick + costs.thread_wake)
                    break

    def _enforce(self, task: _Task, timer: Event) -> None:
        """A task has waited for the bound: while it does, the next vCPU that runs has a slice."""
        if task not in self._queue:
            return
        threads = self._machine.threads
        thread = threads[self._next % len(threads)]
        self._next += 1
        if not thread.attention:
            thread.kicked()
            thread.wake(self._machine.host.costs.kick + self._machine.host.costs.thread_wake)
        clock = self._machine.host.clock
        clock.call_at(clock.now + _SHARE * _LONGEST_NS, partial(self._enforce, task))


class Worker(HostThread):
    """A thread that does nothing but deferred work."""

    def __init__(self, machine: GuestMachine, work: DeferredWork) -> None:
        super().__init__(machine.host)
        self._work = work

    def live(self) -> Process:
        """Tasks as they come, and asleep while there are none."""
        while True:
            task = self._work.take()
            if task is None:
                yield from self.sleep()
                continue
            yield from self.spend(self.host.costs.task)
            while task.left_ns:
                yield from self._work.step(self, task)
