"""The rules for tasks, in time that the test moves: each step costs what it is said to."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.work.conftest import HandClock, NotingServer
from vmm.work import HelperExecutor, Priority, TaskState, VCPUExecutor, make_executor

#: A step, and how many of them fill a slice.
STEP_NS = 10_000
STEPS = 10

MILLISECOND = 1_000_000


def long_work(log: list[str], name: str, steps: int) -> Generator[None, int, None]:
    """Writes down each step, and its end."""
    try:
        for step in range(steps):
            log.append(f"{name}{step}")
            yield
    finally:
        log.append(f"{name} ends")


def test_long_work_is_resumed_slice_by_slice(executor: VCPUExecutor) -> None:
    log: list[str] = []
    task = executor.submit(long_work(log, "a", 2 * STEPS))
    assert executor.serve(0, step_ns=STEP_NS) == STEPS * STEP_NS
    assert (len(log), task.state) == (STEPS, TaskState.QUEUED)
    executor.serve(1, step_ns=STEP_NS)
    assert (len(log), task.state) == (2 * STEPS, TaskState.QUEUED)
    assert executor.serve(2, step_ns=STEP_NS) == STEP_NS
    assert (log[-1], task.state) == ("a ends", TaskState.DONE)
    assert executor.serve(3) == 0


def test_long_works_of_one_priority_take_turns(executor: VCPUExecutor) -> None:
    log: list[str] = []
    for name in "ab":
        executor.submit(long_work(log, name, 2 * STEPS))
    for now in range(4):
        executor.serve(now, step_ns=STEP_NS)
    assert [entry[0] for entry in log[::STEPS]] == ["a", "b", "a", "b"]


def test_long_work_gets_what_is_left_of_its_slice(executor: VCPUExecutor) -> None:
    left: list[int] = []

    def work() -> Generator[None, int, None]:
        while True:
            left.append((yield))

    executor.submit(work)
    executor.serve(0, step_ns=STEP_NS)
    executor.serve(1, step_ns=STEP_NS)
    # The first step calls the function, the second one begins the generator.
    assert left[:4] == [80_000, 70_000, 60_000, 50_000]
    assert left[8] == 100_000


def test_a_generator_that_never_yields_is_done_at_once(executor: VCPUExecutor) -> None:
    log: list[str] = []
    task = executor.submit(long_work(log, "a", 0))
    executor.serve(0)
    assert (log, task.state) == (["a ends"], TaskState.DONE)


def test_a_step_that_does_not_yield_in_time_is_reported(executor: VCPUExecutor) -> None:
    executor.submit(long_work([], "a", 3))
    executor.serve(0, step_ns=200_000)  # a slice is 100,000
    assert executor.report().overruns == 1


def broken() -> Generator[None, int, None]:
    yield
    raise OSError("no such luck")


def quitting() -> None:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("work", "message"),
    [(broken, "lucky draw: OSError: no such luck"), (quitting, "lucky draw: SystemExit: 1")],
)
def test_a_task_that_raises_is_reported_and_the_next_is_done(
    executor: VCPUExecutor, work: Callable[[], Any], message: str
) -> None:
    task, log = executor.submit(work, "lucky draw"), list[str]()
    executor.submit(lambda: log.append("next"))
    executor.serve(0)
    assert (task.state, log) == (TaskState.FAILED, ["next"])
    report = executor.report()
    assert (report.done, report.failed, report.pending) == (1, 1, 0)
    assert report.failures == (message,)


def test_a_generator_that_has_spent_its_budget_is_closed(executor: VCPUExecutor) -> None:
    log: list[str] = []
    task = executor.submit(long_work(log, "a", 100), "hog", budget=0.000_05)
    executor.serve(0, step_ns=STEP_NS)
    assert (log[-2:], task.state) == (["a5", "a ends"], TaskState.FAILED)
    (failure,) = executor.report().failures
    assert failure == "hog: BudgetError: cost 0.060 ms, with a budget of 0.050 ms"


def test_low_priority_waits_for_an_idle_guest(executor: VCPUExecutor) -> None:
    log: list[str] = []
    executor.submit(lambda: log.append("low"), priority=Priority.LOW)
    executor.serve(10**15, idle=False)
    assert (log, executor.next_due) == ([], None)
    executor.serve(10**15)
    assert log == ["low"]


def test_normal_priority_waits_for_an_idle_guest_until_the_bound(executor: VCPUExecutor) -> None:
    log: list[str] = []
    executor.submit(lambda: log.append("normal"))
    executor.serve(10 * MILLISECOND - 1, idle=False)
    assert (log, executor.next_due) == ([], 10 * MILLISECOND)
    executor.serve(10 * MILLISECOND, idle=False)
    assert log == ["normal"]


def test_a_deadline_ends_the_wait_of_any_priority_by_the_budget_before_it(
    executor: VCPUExecutor,
) -> None:
    task = executor.submit(lambda: None, priority=Priority.LOW, budget=0.001, deadline=0.005)
    assert executor.next_due == 4 * MILLISECOND
    executor.serve(4 * MILLISECOND - 1, idle=False)
    assert len(executor) == 1
    executor.serve(4 * MILLISECOND, idle=False)
    assert task.state is TaskState.DONE
    assert executor.report().late == 0


def test_an_end_behind_the_deadline_is_counted(executor: VCPUExecutor) -> None:
    executor.submit(lambda: None, deadline=0.001)
    executor.serve(2 * MILLISECOND)
    assert executor.report().late == 1


def test_high_priority_comes_first_and_does_not_stop_at_the_slice(executor: VCPUExecutor) -> None:
    log: list[str] = []
    executor.submit(long_work(log, "low", 3), priority=Priority.LOW)
    executor.submit(long_work(log, "normal", 3))
    executor.submit(long_work(log, "high", 3 * STEPS), priority=Priority.HIGH)
    executor.serve(0, idle=False, step_ns=STEP_NS)
    assert log == [*(f"high{step}" for step in range(3 * STEPS)), "high ends"]


def test_high_priority_interrupts_a_slice(executor: VCPUExecutor) -> None:
    log: list[str] = []

    def work() -> Generator[None, int, None]:
        log.append("low")
        executor.submit(lambda: log.append("high"), priority=Priority.HIGH)
        yield
        log.append("low again")
        yield

    executor.submit(work(), priority=Priority.LOW)
    executor.serve(0)
    assert log == ["low", "high", "low again"]


def test_a_waiting_generator_that_is_cancelled_runs_its_finally(executor: VCPUExecutor) -> None:
    log: list[str] = []
    task = executor.submit(long_work(log, "a", 100))
    executor.serve(0, step_ns=STEP_NS)
    assert executor.cancel(task)
    assert (log[-1], task.state) == ("a ends", TaskState.CANCELLED)
    assert not executor.cancel(task)
    assert executor.serve(1) == 0
    assert executor.report().cancelled == 1


def test_a_running_generator_that_is_cancelled_is_closed_when_it_yields(
    executor: VCPUExecutor,
) -> None:
    log: list[str] = []

    def work() -> Generator[None, int, None]:
        try:
            assert executor.cancel(task)
            yield
            log.append("goes on")
        finally:
            log.append("ends")

    task = executor.submit(work)
    executor.serve(0)
    assert (log, task.state) == (["ends"], TaskState.CANCELLED)


def test_a_callable_under_way_runs_to_its_end(executor: VCPUExecutor) -> None:
    answers: list[bool] = []
    task = executor.submit(lambda: answers.append(executor.cancel(task)))
    executor.serve(0)
    assert (answers, task.state) == ([False], TaskState.DONE)


def test_close_ends_what_is_left(executor: VCPUExecutor) -> None:
    log: list[str] = []
    begun = executor.submit(long_work(log, "a", 100))
    executor.serve(0, step_ns=STEP_NS)
    waiting = executor.submit(lambda: log.append("too late"))
    executor.close()
    assert log[-1] == "a ends"
    assert begun.state is waiting.state is TaskState.CLOSED
    assert executor.report().pending == 2
    late = executor.submit(lambda: None)
    assert (late.state, len(executor)) == (TaskState.CLOSED, 0)


def test_a_generator_that_resists_its_end_is_reported(executor: VCPUExecutor) -> None:
    def work() -> Generator[None, int, None]:
        try:
            yield
        finally:
            raise OSError("not yet")

    executor.submit(work, "stubborn")
    executor.serve(0, step_ns=100_000)
    executor.serve(0, step_ns=100_000)
    assert len(executor) == 1
    executor.close()
    assert executor.report().failures == ("stubborn: OSError: not yet",)


def test_when_time_is_given_the_work_depends_on_it_alone() -> None:
    def hash_of_a_run() -> list[str]:
        log: list[str] = []
        executor = VCPUExecutor(clock=HandClock())
        for number, priority in enumerate((*Priority, *Priority)):
            executor.submit(long_work(log, f"{number}.", 70), priority=priority)
        for now in range(0, 10**8, 10**6):
            executor.serve(now, idle=now % 3 == 0)
        return log

    assert hash_of_a_run() == hash_of_a_run()


def test_a_guest_that_wakes_ends_the_slice_at_the_next_yield(executor: VCPUExecutor) -> None:
    server = NotingServer()
    executor.attach(server)
    log: list[str] = []

    def work() -> Generator[None, int, None]:
        for step in range(5):
            server.woken = step == 2
            log.append(str(step))
            yield

    executor.submit(work())
    assert executor.attend(server, idle=True)
    assert log == ["0", "1", "2"]


def test_arriving_work_kicks_one_sleeper_and_raises_attention_everywhere(
    executor: VCPUExecutor,
) -> None:
    servers = [NotingServer(), NotingServer(asleep=True), NotingServer(asleep=True)]
    for server in servers:
        executor.attach(server)
    executor.submit(lambda: None, priority=Priority.LOW)
    assert [server.kicks for server in servers] == [0, 1, 0]
    assert [server.attention for server in servers] == [1, 1, 1]


def test_high_priority_kicks_a_busy_vcpu_and_normal_does_not(executor: VCPUExecutor) -> None:
    server = NotingServer()
    executor.attach(server)
    executor.submit(lambda: None)
    assert server.kicks == 0
    executor.submit(lambda: None, priority=Priority.HIGH)
    assert server.kicks == 1


def test_work_that_is_left_when_a_guest_wakes_goes_to_a_sleeper(executor: VCPUExecutor) -> None:
    waking, sleeping = NotingServer(), NotingServer()
    for server in (waking, sleeping):
        executor.attach(server)
    executor.submit(long_work([], "a", 100))
    waking.woken = sleeping.asleep = True
    executor.attend(waking, idle=True)
    assert (waking.kicks, sleeping.kicks) == (0, 1)


def test_idle_vcpus_help_workers_and_sleepers_when_there_is_much_to_do(clock: HandClock) -> None:
    executor, server = HelperExecutor(clock=clock), NotingServer(asleep=True)
    executor.attach(server)
    log: list[str] = []
    executor.submit(lambda: log.append("first"))
    assert (server.attention, server.kicks) == (1, 0)
    executor.submit(lambda: log.append("second"))
    assert server.kicks == 1
    executor.attend(server, idle=True)
    assert log == ["first", "second"]


def test_each_slice_is_shown_to_the_observer(executor: VCPUExecutor) -> None:
    seen: list[tuple[str, int, int]] = []
    executor.observers.append(lambda *piece: seen.append(piece))
    executor.submit(long_work([], "a", 2 * STEPS), "long")
    before = time.monotonic_ns()
    for now in range(2):
        executor.serve(now, step_ns=STEP_NS)
    assert [name for name, _, _ in seen] == ["long", "long"]
    times = [before, *seen[0][1:], *seen[1][1:], time.monotonic_ns()]
    assert times == sorted(times)  # the host's, whatever clock the work has


def test_bad_terms(executor: VCPUExecutor) -> None:
    with pytest.raises(ValueError, match="budget -1 and deadline None must not be below 0"):
        executor.submit(lambda: None, budget=-1)
    with pytest.raises(ValueError, match="must not be below 0 seconds"):
        executor.submit(lambda: None, deadline=-1)
    with pytest.raises(TypeError, match="a callable or a generator, not 3"):
        executor.submit(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wake_bound_seconds must be positive"):
        VCPUExecutor(wake_bound_seconds=0)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        HelperExecutor(workers=0)
    with pytest.raises(ValueError, match=r"work: 'x' \(known: vcpu, workers, helpers\)"):
        make_executor("x")
