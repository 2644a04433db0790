"""Results as a sweep may give them, made up: the same at every call, on every host."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

from bench.laboratory.measures import Measures, encode
from bench.laboratory.point import Point
from bench.laboratory.results import Header, Result
from vmm import EXECUTORS

#: Of each policy: median wake latency in ns, cores that it burns while idle, what a wake costs in
#: seconds of CPU, exits per second while idle, and what its neighbour loses.
_CHARACTER = {
    "nop": (900, 1.0, 1e-6, 1_800_000, 0.34),
    "yield": (2_500, 1.0, 1e-6, 600_000, 0.21),
    "exit": (6_000, 0.8, 3e-6, 90_000, 0.25),
    "passthrough": (400, 1.0, 1e-6, 0, 0.45),
    "timer": (27_000, 0.08, 8e-6, 20_000, 0.04),
    "scan": (520_000, 0.03, 9e-6, 2_000, 0.02),
    "fault": (18_000, 0.004, 9e-6, 300, 0.01),
    "adaptive": (7_000, 0.05, 5e-6, 300, 0.03),
    "hlt-block": (24_000, 0.004, 12e-6, 1_773, 0.01),
}

HEADER = Header(
    sweep='scenarios = ["pingpong"]  # <made up> & "quoted"\n',
    points=1,
    command="python -m bench sweep everything.toml -o results.jsonl",
    environment={
        "cpu": "A processor with a long name & brand <x> @ 3.20GHz",
        "cores": 2,
        "kernel": "Linux 6.1.0",
        "python": "3.11.7",
        "numpy": "2.0.0",
        "command": "left out",
    },
)


_SOME = ("nop", "exit", "fault")


def results(repeats: int = 3) -> list[Result]:
    """All kinds of points, so that each kind of plot has data."""
    return list(_results(repeats))


def _results(repeats: int) -> Iterator[Result]:
    parameters: dict[str, float]
    for policy, repeat in product(_CHARACTER, range(repeats)):
        parameters = {"interval_us": 20.0}
        yield _result(Point("pingpong", policy, "vcpu", "wall", "", parameters, 1.0, repeat))
        yield _result(Point("neighbour", policy, "vcpu", "wall", "", {}, 1.0, repeat))
        yield _result(Point("idle", policy, "vcpu", "wall", "", {}, 1.0, repeat))
    for policy, interval in product(_SOME, (20.0, 200.0, 2_000.0)):
        parameters = {"interval_us": interval}
        yield _result(Point("pingpong", policy, "vcpu", "virtual", "bare-metal", parameters))
    for policy, rate, repeat in product(_SOME, (0.0, 1e3, 3e4, 1e6), range(repeats)):
        parameters = {"stores_per_second": rate}
        yield _result(Point("false-sharing", policy, "vcpu", "wall", "", parameters, 0.5, repeat))
    for policy, executor, repeat in product(_SOME, EXECUTORS, range(repeats)):
        parameters = {"tasks_per_second": 100.0}
        yield _result(
            Point("deferred-light", policy, executor, "wall", "", parameters, 1.0, repeat)
        )
    for executor, cores, load in product(("vcpu", "workers"), (1, 2, 4), (0.1, 0.5, 0.9)):
        parameters = {"host_cores": cores, "host_load": load, "tasks_per_second": 100.0}
        yield _result(Point("deferred-heavy", "fault", executor, "virtual", "nested", parameters))


def _result(point: Point) -> Result:
    """Noise comes from the point's own key, so that no point depends on those before it."""
    noise = random.Random(point.key)
    median, idle_cores, per_wake, exits, loss = _CHARACTER[point.policy]
    spread = 0.04 if point.clock == "wall" else 0.005
    factor = max(0.5, noise.gauss(1.0, spread * (8 if point.policy == "yield" else 1)))
    values = point.parameters
    crowd = 1 + 4 * values.get("host_load", 0) / values.get("host_cores", 8) * 8
    rate = (
        0 if point.scenario == "idle" else 1e6 / (values.get("interval_us", 1_000) + median / 1e3)
    )
    stores = values.get("stores_per_second", 0)
    wakes = int(rate * point.seconds * factor)
    tasks = int(values.get("tasks_per_second", 0) * point.seconds)
    slower = {"vcpu": 1.0, "workers": 2.2, "helpers": 1.4}[point.executor]
    false_faults = int(min(stores, 190_000) * point.seconds * factor)
    if point.policy not in ("fault", "adaptive"):
        false_faults = 0
    neighbour = 1.0e6 * (1 - loss * factor) if point.scenario == "neighbour" or tasks else None
    centre = median * factor * crowd
    return Result(
        point,
        Measures(
            seconds=point.seconds * 1.001,
            guest_work=int(400_000 * factor / (1 + false_faults / 4e5)),
            wakes=wakes,
            lost_wakes=0,
            spurious_wakes=int(wakes * 0.01),
            instructions=int(2e8 * idle_cores + 500 * wakes),
            wake_latency=encode(_latencies(noise, centre, min(wakes, 400))),
            task_latency=encode(_latencies(noise, 9e4 * slower * crowd * factor, tasks)),
            tasks_done=tasks,
            exits={"EXIT_MWAIT": int(exits * factor), "EXIT_HLT": wakes // 2} if exits else {},
            sleeps=wakes,
            write_faults=wakes + false_faults,
            false_faults=false_faults,
            cpu_seconds=min(1.6, (idle_cores + per_wake * rate) * factor) * point.seconds,
            neighbour_work=neighbour,
            neighbour_alone=None if neighbour is None else 1.0e6,
        ),
    )


def _latencies(noise: random.Random, median: float, count: int) -> Iterator[int]:
    return (int(median * noise.lognormvariate(0, 0.5)) for _ in range(count))
