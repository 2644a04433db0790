"""The wall-clock engine: real threads, and what it says of them is so.

A host that is busy may give a guest no time in a short measurement. So what takes time to happen is
tried again for longer; what must never happen must not happen in any of the tries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.laboratory import guest as guests
from bench.laboratory.measures import Measures, histogram
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.policies import POLICIES, find_policy
from bench.laboratory.scenario import Load
from bench.laboratory.scenarios import SCENARIOS
from bench.laboratory.wall import engine, measure, warm_up_seconds
from bench.laboratory.wall.running import Running
from vmm import EXECUTORS

pytestmark = pytest.mark.xdist_group("one at a time")

#: Whose wakes are stores of vCPUs or devices, so that MWAIT as HLT loses them.
BY_STORES = {
    "pingpong",
    "false-sharing",
    "lock-handoff",
    "bimodal",
    "io",
    "overcommit",
    "neighbour",
}
WITHOUT_WAKES = {"idle", "never-idle"}
DEFERRED = {name for name, scenario in SCENARIOS.items() if scenario.executors}


def point(
    scenario: str,
    policy: str = "fault",
    executor: str = "vcpu",
    seconds: float = 0.05,
    **parameters: float,
) -> Point:
    return Point(scenario, policy, executor, "wall", "", parameters, seconds)


def tries(
    scenario: str, policy: str = "fault", executor: str = "vcpu", **parameters: float
) -> Iterator[Measures]:
    """The measures of a point, of longer and longer runs."""
    for seconds in (0.05, 0.1, 0.4, 1.6):
        yield measure(point(scenario, policy, executor, seconds, **parameters))


def eventually(found: Callable[[Measures], bool], each: Iterator[Measures]) -> Measures:
    """The first of the measures of which something is so."""
    for measures in each:
        if found(measures):
            return measures
    raise AssertionError(f"not even in {measures}")


def happened(scenario: str, measures: Measures) -> bool:
    """All that makes the scenario what it is."""
    wakes = measures.wakes > 0 and measures.wake_latency != ""
    return all(
        (
            wakes or scenario in WITHOUT_WAKES,
            measures.tasks_done > 0 or scenario not in DEFERRED,
            measures.guest_work > 0 or scenario not in {"never-idle", "lock-handoff", "io"},
        )
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_under_the_write_fault(scenario: str) -> None:
    def checked() -> Iterator[Measures]:
        for measures in tries(scenario):
            assert measures.lost_wakes == 0
            yield measures

    measures = eventually(lambda measures: happened(scenario, measures), checked())
    assert measures.seconds >= 0.05
    assert measures.cpu_seconds > 0
    latencies = histogram(measures.wake_latency)
    assert latencies.get_total_count() <= measures.wakes + 64
    assert histogram(measures.task_latency).get_total_count() == measures.tasks_done
    assert (measures.neighbour_work is not None) == (scenario == "neighbour")
    assert (measures.wakes > 0) == (scenario not in WITHOUT_WAKES)
    assert measures.tasks_done == 0 or scenario in DEFERRED


@pytest.mark.parametrize("scenario", sorted(BY_STORES))
def test_mwait_as_hlt_loses_what_stores_wake(scenario: str) -> None:
    eventually(lambda measures: measures.lost_wakes > 0, tries(scenario, "halt"))


@pytest.mark.parametrize("scenario", ["ipi", "timer-tick"])
def test_mwait_as_hlt_loses_no_interrupt(scenario: str) -> None:
    def checked() -> Iterator[Measures]:
        for measures in tries(scenario, "halt"):
            assert measures.lost_wakes == 0
            yield measures

    eventually(lambda measures: measures.wakes > 0, checked())


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_hands_off(policy: str) -> None:
    measures = eventually(lambda measures: measures.wakes > 0, tries("ipi", policy, wake_by=0))
    assert (measures.lost_wakes > 0) == (policy == "halt")
    exits = {"exit": "EXIT_MWAIT", "hlt-exit": "EXIT_HLT"}.get(policy)
    assert exits is None or measures.exits[exits] > 0
    if policy in ("nop", "yield", "exit", "passthrough", "hlt-passthrough"):
        assert measures.sleeps == 0


def test_sleep_costs_little_and_nop_a_core_for_each_vcpu() -> None:
    def share(measures: Measures) -> float:
        return measures.cpu_seconds / measures.seconds

    # Before its peer has answered the first shootdown, MWAIT is a NOP under any policy.
    asleep = eventually(
        lambda measures: share(measures) < 0.2 and measures.spurious_wakes < 10, tries("idle")
    )
    # Two cores if the host has them to give.
    least = 10 * share(asleep)
    busy = eventually(lambda measures: share(measures) > least, tries("idle", "nop"))
    assert busy.spurious_wakes > 1000
    assert share(busy) < 2.2
    assert busy.instructions > 10 * busy.spurious_wakes


@pytest.mark.parametrize("executor", EXECUTORS)
def test_tasks_take_at_least_their_time(executor: str) -> None:
    measures = eventually(
        lambda measures: measures.tasks_done > 0,
        tries("deferred-light", "fault", executor, task_us=500, tasks_per_second=50),
    )
    assert histogram(measures.task_latency).get_min_value() > 200_000


def test_a_neighbour_is_measured_alone_and_beside() -> None:
    measures = measure(point("neighbour", "nop", neighbours=1))
    assert measures.neighbour_alone is not None
    assert measures.neighbour_alone > 1000
    assert measures.neighbour_work is not None
    assert measures.neighbour_work > 0
    assert measures.guest_work == 0  # the neighbour's is not ours


def test_cpu_time_is_that_of_workers_too() -> None:
    def burn() -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    load = Load(vcpus=1, words=())
    with Running("burning", "idle", load, find_policy("fault"), "workers") as running:
        before = running.cpu_ns()
        task = running.machine.work.submit(burn)
        while task.state not in ("done", "failed"):
            running.wait(0.001)
        assert running.cpu_ns() - before >= 50_000_000


def test_the_warm_up_grows_with_the_measurement_within_bounds() -> None:
    assert [warm_up_seconds(seconds) for seconds in (0.01, 1.0, 100.0)] == [0.02, 0.2, 0.5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (point("pong"), "unknown scenario 'pong'"),
        (point("idle", "sleep"), "unknown policy 'sleep'"),
        (point("idle", executor="nobody"), r"unknown executor 'nobody' \(known: vcpu, workers"),
        (point("idle", depth=3), "scenario idle has no parameter 'depth'"),
        (point("idle", vcpus=65), r"vcpus must be in 1\.\.64"),
        (point("idle", seconds=0), "seconds must be in"),
        (Point("idle", "fault", "vcpu", "virtual", "bare"), "by the wall clock, not by 'virtual'"),
    ],
)
def test_a_point_that_cannot_be_is_refused(wrong: Point, message: str) -> None:
    with pytest.raises(LaboratoryError, match=message):
        measure(wrong)


@pytest.fixture
def other_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A source that stands in for pingpong's."""
    monkeypatch.setattr(guests, "GUESTS", tmp_path)
    (tmp_path / "laboratory.inc").symlink_to(
        Path(guests.__file__).with_name("guests") / "laboratory.inc"
    )
    guests.image.cache_clear()
    yield tmp_path / "pingpong.S"
    guests.image.cache_clear()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (".byte 0x0F, 0xFF", "policy fault: vCPU . triple-faulted at 0008:"),
        ("mov al, 7; jmp failed", "policy fault: vCPU . wrote 7 to the exit port"),
        ("bad instruction", r"(?s)scenario pingpong, policy fault: .*pingpong\.S:3: Error"),
    ],
)
def test_a_guest_that_goes_wrong_gives_no_measures(
    other_guest: Path, code: str, message: str
) -> None:
    other_guest.write_text(f'#include "laboratory.inc"\nbegin_laboratory\n{code}\n')
    before = threading.active_count()
    with pytest.raises(LaboratoryError, match=message):
        measure(point("pingpong"))
    assert threading.active_count() == before


def test_nothing_runs_on_after_a_measurement_or_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    measure(point("neighbour"))
    assert threading.active_count() == before

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_await_doubts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(point("deferred-light", "nop"))
    assert threading.active_count() == before
