from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from tests.vmm.conftest import WriteGuest
from vmm import Machine, Outcome, WorkQueue

#: Turns for ever and never idles; halts with interrupts on; idles in MWAIT.
BUSY = "l: jmp l\n"
HALTED = "l: sti\nhlt\njmp l\n"
MWAITING = "mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\nl: monitor\nmwait\njmp l\n"


def submit_while_running(machine: Machine, count: int = 1) -> list[tuple[str, float]]:
    """Run for half a second; the threads' names and latencies in seconds of tasks submitted."""
    done: list[tuple[str, float]] = []

    def task(submitted: float) -> None:
        done.append((threading.current_thread().name, time.monotonic() - submitted))

    def submit() -> None:
        time.sleep(0.1)
        for _ in range(count):
            machine.work.submit(partial(task, time.monotonic()))
            time.sleep(0.002)

    host = threading.Thread(target=submit)
    host.start()
    result = machine.run(timeout=0.5)
    host.join()
    assert result.outcome is Outcome.TIMEOUT
    assert result.work.done == len(done) == count
    return done


@pytest.mark.parametrize("policy", ["nop", "yield", "exit", "fault"])
def test_work_is_done_on_the_vcpus_thread_when_mwait_comes(guest: WriteGuest, policy: str) -> None:
    machine = Machine.load(guest(MWAITING), idle=policy)
    machine.work.bound_seconds = 60  # so it is not the timer
    assert submit_while_running(machine, count=20)[0][0] == "vCPU 0"


@pytest.mark.parametrize("policy", ["block", "exit"])
def test_a_halted_vcpu_is_kicked_at_once(guest: WriteGuest, policy: str) -> None:
    machine = Machine.load(guest(HALTED), hlt=policy)
    machine.work.bound_seconds = 60
    done = submit_while_running(machine, count=20)
    assert done[0][0] == "vCPU 0"
    assert min(latency for _, latency in done) < 0.01


def test_a_guest_that_never_idles_is_kicked_within_the_bound(guest: WriteGuest) -> None:
    machine = Machine.load(guest(BUSY))
    ((name, latency),) = submit_while_running(machine)
    assert name == "vCPU 0"
    assert 0.009 < latency < 0.2


def test_work_leaves_the_policy_as_it_was(guest: WriteGuest) -> None:
    machine = Machine.load(guest(MWAITING), vcpus=2, idle="fault")
    submit_while_running(machine, count=5)
    assert [vcpu.userspace_exits for vcpu in machine.vcpus] == [0, 0]
    assert all(vcpu.stats["mwait_exits"] <= 5 for vcpu in machine.vcpus)


def test_work_that_was_there_before_the_guest(guest: WriteGuest) -> None:
    machine = Machine.load(guest(HALTED))
    done = threading.Event()
    machine.work.submit(done.set)
    result = machine.run(timeout=0.3)
    assert done.is_set()
    assert result.work.done == 1


def test_a_task_that_raises_is_reported_and_stops_nothing(guest: WriteGuest) -> None:
    machine = Machine.load(guest(MWAITING), idle="exit")

    def broken() -> None:
        raise OSError("no such luck")

    machine.work.submit(broken, "lucky draw")
    done = threading.Event()
    machine.work.submit(done.set)
    result = machine.run(timeout=0.2)
    assert result.outcome is Outcome.TIMEOUT
    assert (result.work.done, result.work.failed, result.work.pending) == (1, 1, 0)
    assert result.work.failures == ("lucky draw: OSError: no such luck",)
    assert done.is_set()


def test_work_left_undone_is_reported(guest: WriteGuest) -> None:
    machine = Machine.load(guest("xor al, al\nout 0xF4, al\n"))
    for _ in range(3):
        machine.work.submit(lambda: None)
    machine.work.bound_seconds = 60
    assert machine.run(timeout=5).work.pending == 3


def test_a_task_may_submit_another(guest: WriteGuest) -> None:
    machine = Machine.load(guest(HALTED))
    last = threading.Event()
    machine.work.submit(lambda: machine.work.submit(last.set))
    result = machine.run(timeout=0.3)
    assert last.is_set()
    assert result.work.done == 2


@pytest.mark.parametrize("policy", ["exit", "fault"])
def test_each_task_is_done_once_whoever_submits_and_whoever_serves(
    guest: WriteGuest, policy: str
) -> None:
    machine = Machine.load(guest(MWAITING), vcpus=3, idle=policy)
    done: list[tuple[int, int]] = []

    def submit(submitter: int) -> None:
        for number in range(200):
            machine.work.submit(partial(done.append, (submitter, number)))

    hosts = [threading.Thread(target=submit, args=(number,)) for number in range(3)]
    for host in hosts:
        host.start()
    result = machine.run(timeout=1)
    for host in hosts:
        host.join()
    assert result.work.done == 600
    assert len(done) == len(set(done)) == 600


def test_latency_is_from_submission_to_completion(guest: WriteGuest) -> None:
    machine = Machine.load(guest(HALTED))
    machine.work.submit(lambda: time.sleep(0.05))
    work = machine.run(timeout=0.3).work
    assert work.latency_max_ns >= 49_000_000
    assert work.latency_p50_ns == pytest.approx(work.latency_max_ns, rel=0.01)


def test_nothing_done() -> None:
    report = WorkQueue().report()
    assert (report.done, report.failed, report.pending) == (0, 0, 0)
    assert (report.latency_p50_ns, report.latency_p99_ns, report.latency_max_ns) == (0, 0, 0)


@pytest.mark.parametrize("bound", [0, -1.0])
def test_a_bound_has_to_be_positive(bound: float) -> None:
    with pytest.raises(ValueError, match="bound_seconds must be positive"):
        WorkQueue(bound)
