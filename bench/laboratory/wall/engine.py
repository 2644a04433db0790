"""Measure a point by the wall clock."""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter
from typing import Final

from bench.laboratory.measures import Measures, encode, encode_histogram
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.policies import find_policy
from bench.laboratory.scenario import Load, check_seconds
from bench.laboratory.scenarios import find_scenario
from bench.laboratory.wall.loads import Tasks, beside
from bench.laboratory.wall.reading import Reading
from bench.laboratory.wall.running import Running
from bench.laboratory.wall.watch import LOOK_SECONDS, Watch
from bench.periodic import Periodic
from vmm import EXECUTORS
from vmm.asm import AssemblyError

#: How long it is waited for wakes in doubt to be noticed or lost: several times the patience of a
#: watchdog, because time in which a vCPU is starved does not count for that.
_LONGEST_DOUBT_SECONDS: Final = 2.0
_DOUBT_LOOK_SECONDS: Final = 0.001

_NEIGHBOUR_POLICY: Final = "fault"  # its guest never idles


def warm_up_seconds(seconds: float) -> float:
    """How long a guest runs before it is measured for so long."""
    return min(0.5, max(0.02, seconds / 5))


def measure(point: Point) -> Measures:
    """Run a point for its seconds of real time, after a warm-up.

    A wake that is lost counts although it is found later. Raises LaboratoryError for a point that
    cannot be, when its guest goes wrong, and without an assembler.
    """
    scenario, policy = find_scenario(point.scenario), find_policy(point.policy)
    if point.clock != "wall":
        raise LaboratoryError(f"this engine measures by the wall clock, not by {point.clock!r}")
    if point.executor not in EXECUTORS:
        known = ", ".join(EXECUTORS)
        raise LaboratoryError(f"unknown executor {point.executor!r} (known: {known})")
    seconds = check_seconds(point.seconds)
    load = scenario.load(scenario.values(point.parameters))
    what = f"scenario {scenario.name}, policy {policy.name}"
    try:
        with ExitStack() as stack:
            neighbour = _Neighbour(what, load, seconds, stack) if load.neighbours else None
            running = stack.enter_context(
                Running(what, scenario.guest, load, policy, point.executor, seed=point.repeat)
            )
            work = running.machine.work
            tasks = Tasks(work, load.deferred) if load.deferred is not None else None
            watch = Watch(running)
            stack.enter_context(Periodic(watch.look, LOOK_SECONDS, "watchdog"))
            stack.enter_context(beside(running, load, policy, tasks))
            running.wait(warm_up_seconds(seconds))

            lost, done = watch.lost, len(tasks.latencies_ns) if tasks else 0
            begin = Reading.of(running)
            if neighbour is not None:
                neighbour.begin()
            running.wait(seconds)
            neighbour_work = None if neighbour is None else neighbour.work_per_second()
            latest = tasks.latencies_ns[done:] if tasks else []
            reading = Reading.of(running).since(begin)
            _await_doubts(running, watch)
            lost = watch.lost - lost
    except AssemblyError as error:
        raise LaboratoryError(f"{what}: {error}") from None
    sample = reading.sample
    return Measures(
        seconds=reading.seconds,
        guest_work=int(sample.work.sum()),
        wakes=int(sample.wakes.sum()),
        lost_wakes=lost,
        spurious_wakes=int(sample.spurious.sum()),
        instructions=reading.instructions,
        wake_latency=encode_histogram(sample.latencies()),
        task_latency=encode(latest),
        tasks_done=len(latest),
        exits=dict(sorted(reading.exits.items())),
        sleeps=reading.sleeps(policy),
        write_faults=reading.stats["write_faults"],
        false_faults=reading.stats["false_faults"],
        cpu_seconds=reading.cpu_ns / 1e9,
        neighbour_work=neighbour_work,
        neighbour_alone=None if neighbour is None else neighbour.alone,
    )


class _Neighbour:
    """Another machine, which runs to the end of `stack`. `alone` is its work per second before
    there was any other.
    """

    def __init__(self, what: str, load: Load, seconds: float, stack: ExitStack) -> None:
        self._running = stack.enter_context(
            Running(
                f"neighbour of {what}",
                "work",
                Load(vcpus=load.neighbours, words=()),
                find_policy(_NEIGHBOUR_POLICY),
                "vcpu",
            )
        )
        self._running.wait(warm_up_seconds(seconds))
        self.begin()
        self._running.wait(seconds)
        self.alone = self.work_per_second()

    def begin(self) -> None:
        """Count from now on."""
        self._began, self._before = perf_counter(), self._work()

    def work_per_second(self) -> float:
        """Its work since then."""
        return (self._work() - self._before) / (perf_counter() - self._began)

    def _work(self) -> int:
        return int(self._running.mailbox.sample().work.sum())


def _await_doubts(running: Running, watch: Watch) -> None:
    """Until every wake that is in doubt now has been noticed, or one is lost."""
    doubts, lost = watch.doubts(), watch.lost
    deadline = perf_counter() + _LONGEST_DOUBT_SECONDS
    while doubts and watch.lost == lost and perf_counter() < deadline:
        running.wait(_DOUBT_LOOK_SECONDS)
        doubts = dict(doubts.items() & watch.doubts().items())
