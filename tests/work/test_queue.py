"""The queue against a model of its rules, in every order that hypothesis finds."""

from __future__ import annotations

import threading

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vmm.work.queue import TaskQueue
from vmm.work.task import NEVER, Priority, Task, TaskState

BOUND_NS = 1000


class QueueModel(RuleBasedStateMachine):
    """A list in order of arrival is the model; the queue has to agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TaskQueue(BOUND_NS)
        self.now = 0
        self.waiting: list[Task] = []
        self.running: list[Task] = []
        self.ended: list[Task] = []
        self.closed = False

    @rule(ns=st.integers(0, 600))
    def time_passes(self, ns: int) -> None:
        self.now += ns

    @rule(
        priority=st.sampled_from(Priority),
        budget=st.sampled_from([0, 300]),
        deadline=st.one_of(st.none(), st.integers(0, 3000)),
    )
    def put(self, priority: Priority, budget: int, deadline: int | None) -> None:
        until = NEVER if deadline is None else self.now + deadline
        task = Task(lambda: None, "task", priority, self.now, budget, until)
        assert self.queue.put(task) is not self.closed
        if self.closed:
            self.ended.append(task)
        else:
            self.waiting.append(task)

    @rule(lowest=st.sampled_from(Priority))
    def take(self, lowest: Priority) -> None:
        expected = self.next_task(lowest)
        assert self.queue.ready(self.now, lowest) is (expected is not None)
        assert self.queue.take(self.now, lowest) is expected
        if expected is not None:
            self.waiting.remove(expected)
            self.running.append(expected)

    def next_task(self, lowest: Priority) -> Task | None:
        """HIGH first, then what is due, then by priority; each by due time, then by arrival."""

        def first(tasks: list[Task]) -> Task | None:
            return min(tasks, key=lambda task: task.due_ns, default=None)

        of = {p: [task for task in self.waiting if task.priority is p] for p in Priority}
        due = [
            task
            for p in (Priority.NORMAL, Priority.LOW)
            for task in of[p]
            if task.due_ns <= self.now
        ]
        return (
            first(of[Priority.HIGH])
            or first(due)
            or (first(of[Priority.NORMAL]) if lowest <= Priority.NORMAL else None)
            or (first(of[Priority.LOW]) if lowest <= Priority.LOW else None)
        )

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.running))
        may = not (task.cancelling or self.closed)
        assert self.queue.put_back(task, self.now) is may
        if may:
            self.running.remove(task)
            self.waiting.append(task)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.running))
        self.queue.finish(task, TaskState.DONE)
        self.running.remove(task)
        self.ended.append(task)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        tasks = self.waiting + self.running + self.ended
        if not tasks:
            return
        task = data.draw(st.sampled_from(tasks))
        before = self.queue.cancel(task)
        if task in self.waiting:
            assert before is TaskState.QUEUED
            self.waiting.remove(task)
            self.ended.append(task)
        elif task in self.running:
            assert before is TaskState.RUNNING
        else:
            assert before not in (TaskState.QUEUED, TaskState.RUNNING)

    @rule(bound=st.sampled_from([1, BOUND_NS, 5000]))
    def set_bound(self, bound: int) -> None:
        self.queue.bound_ns = bound

    @rule()
    def close(self) -> None:
        assert self.queue.close() == self.waiting
        self.ended += self.waiting
        self.waiting = []
        self.closed = True

    @invariant()
    def counts_agree(self) -> None:
        assert self.queue.waiting == len(self.waiting)
        assert self.queue.running == len(self.running)
        assert self.queue.urgent is any(t.priority is Priority.HIGH for t in self.waiting)
        assert self.queue.has_low is any(t.priority is Priority.LOW for t in self.waiting)
        assert self.queue.next_due() == min((t.due_ns for t in self.waiting), default=NEVER)

    @invariant()
    def states_agree(self) -> None:
        assert all(task.state is TaskState.QUEUED for task in self.waiting)
        assert all(task.state is TaskState.RUNNING for task in self.running)


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def task_of(priority: Priority, now: int = 0, budget: int = 0, deadline: int = NEVER) -> Task:
    return Task(lambda: None, "", priority, now, budget, deadline)


def test_when_tasks_are_due() -> None:
    queue = TaskQueue(BOUND_NS)
    due = {}
    for name, task in {
        "high": task_of(Priority.HIGH, now=10),
        "normal": task_of(Priority.NORMAL, now=10),
        "normal, deadline": task_of(Priority.NORMAL, now=10, deadline=700),
        "low": task_of(Priority.LOW, now=10),
        "low, deadline": task_of(Priority.LOW, now=10, deadline=5000),
        "low, deadline, cost": task_of(Priority.LOW, now=10, budget=400, deadline=5000),
    }.items():
        queue.put(task)
        due[name] = task.due_ns
    assert due == {
        "high": 10,
        "normal": 1010,
        "normal, deadline": 700,
        "low": NEVER,
        "low, deadline": 5000,
        "low, deadline, cost": 4600,
    }


def test_cancelled_tasks_do_not_pile_up() -> None:
    queue = TaskQueue(BOUND_NS)
    queue.put(task_of(Priority.LOW))
    for _ in range(10_000):
        task = task_of(Priority.LOW)
        queue.put(task)
        queue.cancel(task)
    assert len(queue._heaps[Priority.LOW]) < 100


def test_each_task_is_taken_once_whoever_takes_it() -> None:
    queue = TaskQueue(BOUND_NS)
    taken: list[Task] = []
    tasks = [task_of(Priority(number % 3)) for number in range(3000)]

    def take() -> None:
        while (task := queue.take(0, Priority.LOW)) is not None:
            taken.append(task)
            queue.finish(task, TaskState.DONE)

    for task in tasks:
        queue.put(task)
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(map(id, taken))) == 3000
    assert (queue.waiting, queue.running) == (0, 0)
