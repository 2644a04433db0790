"""A point in virtual time: the host and its machines are built, run, and measured."""

from __future__ import annotations

import gc
from random import Random
from typing import Final

from bench.laboratory.costs import load_costs
from bench.laboratory.measures import Measures, encode, encode_histogram, new_histogram
from bench.laboratory.parameter import LaboratoryError, complete
from bench.laboratory.point import Point
from bench.laboratory.policies import find_policy
from bench.laboratory.scenario import Load, check_seconds
from bench.laboratory.scenarios import find_scenario
from bench.laboratory.virtual.background import LoadProcess, Neighbour
from bench.laboratory.virtual.clock import Clock
from bench.laboratory.virtual.costs import Nanoseconds
from bench.laboratory.virtual.machine import GuestMachine
from bench.laboratory.virtual.parameters import HOST_PARAMETERS, is_of_host
from bench.laboratory.virtual.scheduler import Host
from bench.laboratory.virtual.totals import Totals
from vmm.work import EXECUTORS

#: How long the machines run before they are measured.
WARM_UP_NS: Final = 5_000_000

#: How long they may take until all their vCPUs have begun, which wait for one another.
_PATIENCE_NS: Final = 10_000_000_000

#: Instructions of a unit of a guest's work, by which a neighbour's is counted as well.
_UNIT_INSTRUCTIONS: Final = 1000


class Simulation:
    """The host of a point with everything on it. Raises what `bench.laboratory.virtual.measure`
    raises.
    """

    def __init__(self, point: Point) -> None:
        scenario = find_scenario(point.scenario)
        self._span_ns = round(1e9 * check_seconds(point.seconds))
        if point.executor not in EXECUTORS:
            known = ", ".join(EXECUTORS)
            raise LaboratoryError(f"unknown executor {point.executor!r} (known: {known})")
        mine = {name: value for name, value in point.parameters.items() if is_of_host(name)}
        others = {name: value for name, value in point.parameters.items() if not is_of_host(name)}
        values = complete("the host model", HOST_PARAMETERS, mine)
        self.load = scenario.load(scenario.values(others))
        self._values = values
        self.costs = Nanoseconds.of(load_costs(point.costs))
        count = int(values["host_machines"])
        policy = find_policy(point.policy)
        threads = count * _threads(self.load, point.executor) + self.load.neighbours
        self.cores = int(values["host_cores"]) or threads
        self.host = self._new_host()
        self.machines = tuple(
            GuestMachine(
                self.host,
                scenario.guest,
                self.load,
                policy,
                point.executor,
                quantum_ns=int(values["host_quantum_ns"]),
                timer_ns=round(1000 * values["host_timer_us"]),
                seed=point.repeat * count + number + 1,
            )
            for number in range(count)
        )
        self.neighbours = tuple(Neighbour(self.host) for _ in range(self.load.neighbours))
        share, random = values["host_load"], Random(point.repeat)
        self.processes = tuple(
            LoadProcess(self.host, share, random) for _ in range(self.cores if share else 0)
        )

    def run(self) -> Measures:
        """The measures of all machines together."""
        gc.freeze()  # thousands of threads and vCPUs that live to the end: not to be gone through
        try:
            return self._run()
        finally:
            gc.unfreeze()

    def _run(self) -> Measures:
        for machine in self.machines:
            machine.start()
        for thread in (*self.neighbours, *self.processes):
            thread.start()
        clock = self.host.clock
        while not all(machine.mailbox.all_started for machine in self.machines):
            clock.run(until=clock.now + WARM_UP_NS)
            if clock.now > _PATIENCE_NS:
                raise LaboratoryError(
                    f"the guests have not all begun within {_PATIENCE_NS / 1e9:g} s of virtual"
                    " time: give the host more cores"
                )
        clock.run(until=clock.now + WARM_UP_NS)
        before = Totals.of(self.host, self.machines, self.neighbours)
        clock.run(until=clock.now + self._span_ns)
        return self._measures(before, Totals.of(self.host, self.machines, self.neighbours))

    def _measures(self, before: Totals, after: Totals) -> Measures:
        seconds = self._span_ns / 1e9
        counts, exits = after.since(before)
        samples = [
            later.since(earlier)
            for later, earlier in zip(after.samples, before.samples, strict=True)
        ]
        latencies = new_histogram()
        for sample in samples:
            latencies.add(sample.latencies())
        tasks = [
            latency
            for machine, done in zip(self.machines, before.tasks, strict=True)
            for latency in machine.work.latencies[done:]
        ]
        return Measures(
            seconds=seconds,
            guest_work=sum(int(sample.work.sum()) for sample in samples),
            wakes=sum(int(sample.wakes.sum()) for sample in samples),
            lost_wakes=counts["lost"],
            spurious_wakes=sum(int(sample.spurious.sum()) for sample in samples)
            + counts["turns_passed"],
            instructions=counts["instructions"],
            wake_latency=encode_histogram(latencies),
            task_latency=encode(tasks),
            tasks_done=len(tasks),
            exits={name: count for name, count in sorted(exits.items()) if count},
            sleeps=counts["sleeps"],
            write_faults=counts["write_faults"],
            false_faults=counts["false_faults"],
            cpu_seconds=counts["cpu_ns"] / 1e9,
            neighbour_work=self._work(counts["neighbour_ns"]) if self.neighbours else None,
            neighbour_alone=self._alone() if self.neighbours else None,
        )

    def _work(self, nanoseconds: int) -> float:
        """Units a second, of what a neighbour has worked in the time that is measured."""
        return nanoseconds / (_UNIT_INSTRUCTIONS * self.costs.instruction) / (self._span_ns / 1e9)

    def _alone(self) -> float:
        """What the neighbours do with the host to themselves, as long and as warm."""
        host = self._new_host()
        neighbours = [Neighbour(host) for _ in self.neighbours]
        for neighbour in neighbours:
            neighbour.start()
        host.clock.run(until=WARM_UP_NS)
        host.settle()
        before = sum(neighbour.work_ns for neighbour in neighbours)
        host.clock.run(until=WARM_UP_NS + self._span_ns)
        host.settle()
        return self._work(sum(neighbour.work_ns for neighbour in neighbours) - before)

    def _new_host(self) -> Host:
        return Host(
            Clock(),
            self.cores,
            self.costs,
            slice_ns=round(1000 * self._values["host_slice_us"]),
            granularity_ns=round(1000 * self._values["host_granularity_us"]),
        )


def _threads(load: Load, executor: str) -> int:
    """How many threads a machine has."""
    workers = load.deferred is not None and executor != "vcpu"
    return load.vcpus + workers + (load.host_writes is not None)
