"""A catalogue whose engine makes its measures up: quick, and equal for equal points."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from hashlib import sha256
from time import sleep

from bench.laboratory.measures import Measures, encode
from bench.laboratory.parameter import LaboratoryError, Parameter
from bench.laboratory.point import Point
from bench.laboratory.scenario import Load, Scenario, Values
from bench.laboratory.sweep.catalogue import Catalogue
from bench.laboratory.sweep.definition import Sweep, parse
from bench.laboratory.sweep.outcome import Outcome

#: The values of the parameter `fate`.
FINE, REFUSED, WRONG, KILLED = range(4)


def measure(point: Point) -> Measures:
    """What nobody measured."""
    sleep(point.parameters.get("pause_ms", 0) / 1000)
    fate = point.parameters.get("fate", FINE)
    if fate == REFUSED:
        raise LaboratoryError("the guest went wrong")
    if fate == WRONG:
        raise KeyError("engine")
    if fate == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    digest = sha256(point.key.encode()).digest()
    return Measures(
        seconds=point.seconds,
        guest_work=int.from_bytes(digest[:4]),
        wakes=digest[4],
        wake_latency=encode(byte * 100 for byte in digest),
        exits={"EXIT_HLT": digest[5], "EXIT_MWAIT": digest[6]},
        cpu_seconds=digest[7] / 7,
    )


def load(values: Values) -> Load:
    """Nothing to run."""
    return Load(vcpus=2, words=())


def identify_costs(name: str) -> str:
    """There are two tables, and any number of files."""
    if name.endswith(".toml"):
        return f"the text of {name}"
    if name not in ("cheap", "dear"):
        raise LaboratoryError(f"unknown cost table {name!r} (known: cheap, dear)")
    return ""


PAUSE = Parameter("pause_ms", 0.0, 0.0, 10_000.0, "ms", "how long a point takes")
FATE = Parameter("fate", FINE, FINE, KILLED, "", "how a point ends")
WAKERS = Parameter("wakers", 1, 1, 8, "", "vCPUs that wake")
CORES = Parameter("host_cores", 2, 1, 1024, "", "cores of the modelled host")

ALPHA = Scenario("alpha", "The first", "Is it?", "alpha", load, (PAUSE, FATE))
BETA = Scenario("beta", "The second", "Is it?", "beta", load, (PAUSE, WAKERS), executors=True)
GAMMA = Scenario("gamma", "Of real time", "Is it?", "gamma", load, clocks=("wall",))

CATALOGUE = Catalogue(
    scenarios={scenario.name: scenario for scenario in (ALPHA, BETA, GAMMA)},
    policies=("nop", "exit", "fault"),
    executors=("vcpu", "workers"),
    host_parameters=(CORES,),
    model="the model",
    identify_costs=identify_costs,
    check_clock=lambda clock: None,
    measure=measure,
)


def sweep(text: str) -> Sweep:
    """A sweep of this catalogue."""
    return parse("fake.toml", text, CATALOGUE)


class Watcher:
    """Remembers what a sweep told it; Ctrl-C when it has seen `patience` ends."""

    def __init__(self, patience: int = 1000) -> None:
        self.begun: list[Point] = []
        self.finished = 0
        self.ended: list[Outcome] = []
        self._patience = patience

    def begins(self, points: Sequence[Point], finished: int) -> None:
        """As `bench.laboratory.sweep.run.Observer` says."""
        self.begun, self.finished = list(points), finished

    def ends(self, outcome: Outcome) -> None:
        """As `bench.laboratory.sweep.run.Observer` says."""
        self.ended.append(outcome)
        if len(self.ended) == self._patience:
            raise KeyboardInterrupt
