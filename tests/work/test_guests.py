"""All executors beside real guests: who works, when, and what it costs the guest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from functools import partial

import pytest

from tests.vmm.conftest import PRELUDE
from vmm import EXECUTORS, Machine, Outcome, Priority, Result, TaskState
from vmm.asm import BOOT_ADDRESS, assemble

#: Turns for ever and never idles; halts with interrupts on; idles in MWAIT.
BUSY = "l: jmp l\n"
HALTED = "l: sti\nhlt\njmp l\n"
MWAITING = "mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\nl: monitor\nmwait\njmp l\n"

#: Far more than anything here takes, and what a loaded host may take on top.
PATIENCE_SECONDS = 20.0

every_executor = pytest.mark.parametrize("work", list(EXECUTORS))


def machine_of(code: str, vcpus: int = 1, work: str = "vcpu", idle: str = "fault") -> Machine:
    machine = Machine("1M", vcpus, idle, work=work)
    machine.memory.write(BOOT_ADDRESS, assemble(PRELUDE + code))
    for vcpu in machine.vcpus:
        vcpu.start_real_mode(0, BOOT_ADDRESS)
    return machine


def run_while(machine: Machine, host: Callable[[], object]) -> Result:
    """Run until `host`, on this thread, has returned; the machine then times out at once."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(machine.run(PATIENCE_SECONDS)))
    thread.start()
    try:
        await_that(lambda: all(vcpu.instructions for vcpu in machine.vcpus))
        host()
    finally:
        machine._end(Outcome.INTERRUPTED, "enough")
        thread.join()
    return results[0]


def await_that(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def short_steps(count: int, log: list[str] | None = None) -> Generator[None, int, None]:
    """Long work that yields every few microseconds, and says when it ends."""
    try:
        for _ in range(count):
            sum(range(100))
            yield
    finally:
        if log is not None:
            log.append(threading.current_thread().name)


@every_executor
@pytest.mark.parametrize("code", [BUSY, HALTED, MWAITING], ids=["busy", "halted", "mwaiting"])
@pytest.mark.parametrize("policy", ["nop", "exit", "passthrough", "fault"])
def test_short_and_long_work_is_done(work: str, code: str, policy: str) -> None:
    machine = machine_of(code, work=work, idle=policy)
    tasks = []

    def host() -> None:
        for number in range(30):
            job = partial(short_steps, 20) if number % 3 else lambda: None
            tasks.append(machine.work.submit(job, priority=Priority(1 + number % 2)))
        await_that(lambda: not len(machine.work))

    result = run_while(machine, host)
    assert {task.state for task in tasks} == {TaskState.DONE}
    assert (result.work.done, result.work.failed, result.work.pending) == (30, 0, 0)


@every_executor
def test_a_noisy_guest_that_never_idles_does_not_keep_its_work_waiting(work: str) -> None:
    """Each task is done within the fallback bound; a loaded host may be late now and then."""
    machine = machine_of(BUSY, work=work)
    machine.work.bound_seconds = 0.05

    def host() -> None:
        for _ in range(10):
            machine.work.submit(lambda: None)
            time.sleep(0.02)
        await_that(lambda: not len(machine.work))

    result = run_while(machine, host)
    assert result.work.done == 10
    assert result.work.latency_p50_ns < 2 * 50_000_000


def test_a_burst_is_done_by_one_preemption() -> None:
    machine = machine_of(BUSY)
    machine.work.bound_seconds = 0.05

    def host() -> None:
        for _ in range(20):
            machine.work.submit(lambda: None)
            time.sleep(0.001)
        await_that(lambda: not len(machine.work))

    assert run_while(machine, host).vcpus[0].exits["EXIT_INTR"] < 10


@every_executor
@pytest.mark.parametrize("policy", ["nop", "exit", "passthrough", "fault"])
def test_low_priority_is_done_by_an_idle_guest(work: str, policy: str) -> None:
    machine = machine_of(MWAITING, work=work, idle=policy)

    def host() -> None:
        for _ in range(5):
            machine.work.submit(partial(short_steps, 50), priority=Priority.LOW)
            time.sleep(0.002)
        await_that(lambda: not len(machine.work))

    assert run_while(machine, host).work.done == 5


@every_executor
def test_low_priority_is_not_done_while_the_guest_is_busy(work: str) -> None:
    machine = machine_of(BUSY, work=work)
    machine.work.bound_seconds = 0.001

    def host() -> None:
        machine.work.submit(lambda: None, priority=Priority.LOW)
        machine.work.submit(lambda: None, priority=Priority.NORMAL)
        await_that(lambda: machine.work.report().done)
        time.sleep(0.05)

    result = run_while(machine, host)
    assert (result.work.done, result.work.pending) == (1, 1)


@every_executor
def test_low_priority_with_a_deadline_is_done_by_then(work: str) -> None:
    machine = machine_of(BUSY, work=work)

    def host() -> None:
        machine.work.submit(lambda: None, priority=Priority.LOW, budget=0.01, deadline=0.03)
        await_that(lambda: machine.work.report().done)

    assert run_while(machine, host).work.latency_max_ns > 15_000_000


def test_high_priority_preempts_at_once() -> None:
    """The fallback bound has no part in it."""
    machine = machine_of(BUSY)
    machine.work.bound_seconds = 10.0

    def host() -> None:
        for _ in range(50):
            machine.work.submit(lambda: None, priority=Priority.HIGH)
            time.sleep(0.001)
        await_that(lambda: not len(machine.work))

    result = run_while(machine, host)
    assert result.work.done == 50
    assert result.work.latency_p50_ns < 1_000_000_000


@every_executor
def test_unfinished_work_is_closed_with_the_machine(work: str) -> None:
    machine = machine_of(MWAITING, work=work)
    log: list[str] = []

    def host() -> None:
        machine.work.submit(partial(short_steps, 10**9, log))
        await_that(lambda: machine.work.report().busy_ns > 1_000_000)

    result = run_while(machine, host)
    assert len(log) == 1
    assert (result.work.done, result.work.pending) == (0, 1)


@every_executor
def test_a_task_that_does_not_yield_holds_one_thread_and_not_the_others(work: str) -> None:
    machine = machine_of(MWAITING, vcpus=2, work=work)
    release, others = threading.Event(), []

    def host() -> None:
        stuck = machine.work.submit(lambda: release.wait(PATIENCE_SECONDS), "stuck")
        await_that(lambda: stuck.state is TaskState.RUNNING)
        for _ in range(10):
            others.append(machine.work.submit(lambda: None))
        if work != "workers":  # there the only worker is held
            await_that(lambda: all(task.state is TaskState.DONE for task in others))
        release.set()
        await_that(lambda: not len(machine.work))

    result = run_while(machine, host)
    assert result.work.done == 11
    assert result.work.overruns >= 1


@pytest.mark.parametrize("work", ["vcpu", "helpers"])
def test_a_slice_ends_when_the_guest_is_woken_out_of_hlt(work: str) -> None:
    """The interrupt's handler runs although the work, which yields, would go on for ever."""
    code = (
        "mov word ptr [0x80], offset on_tick\nmov word ptr [0x82], 0\n"
        "l: sti\nhlt\njmp l\non_tick: inc dword ptr [0x500]\niret\n"
    )
    machine = machine_of(code, work=work)

    def ticks() -> int:
        return int.from_bytes(machine.memory.read(0x500, 4), "little")

    def host() -> None:
        machine.work.submit(partial(short_steps, 10**9))
        await_that(lambda: machine.work.report().busy_ns > 1_000_000)
        for _ in range(20):
            before = ticks()
            machine.interrupt(0x20)
            await_that(partial(lambda before: ticks() > before, before))

    result = run_while(machine, host)
    assert result.work.pending == 1


@every_executor
def test_no_work_is_lost_between_many_submitters_and_sleepers(work: str) -> None:
    """Random priorities at random moments, on guests that sleep and are woken all the time."""
    code = (
        "mov word ptr [0x80], offset on_tick\nmov word ptr [0x82], 0\n"
        "mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\n"
        "l: sti\nhlt\nmonitor\nmwait\njmp l\non_tick: iret\n"
    )
    machine = machine_of(code, vcpus=3, work=work, idle="fault")
    done: list[tuple[int, int]] = []

    def submitter(which: int) -> None:
        for number in range(150):
            job = partial(done.append, (which, number))
            machine.work.submit(job, priority=Priority(number % 3))
            machine.interrupt(0x20, number % 3)
            if number % 5 == which:
                time.sleep(0.0005)

    def host() -> None:
        threads = [threading.Thread(target=submitter, args=(which,)) for which in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await_that(lambda: not len(machine.work))

    result = run_while(machine, host)
    assert result.work.done == 450
    assert len(done) == len(set(done)) == 450
