"""A scenario as data: a guest, who wakes whom, and what else goes on.

Each file of `bench/laboratory/scenarios/` holds one. Every guest of the laboratory keeps to one
layout of memory, which the head of bench/laboratory/guests/laboratory.inc documents, so either
engine sets it up and reads it in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.laboratory.parameter import Parameter, complete
from bench.laboratory.point import CLOCKS

#: The parameters of one run, complete.
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DeferredLoad:
    """Deferred tasks that the VMM gets to do: so many a second, each of so many ns of work in
    steps of `step_ns` (a task of one step is a callable, one of several a generator).
    """

    per_second: float
    task_ns: int
    step_ns: int


@dataclass(frozen=True, slots=True)
class HostWrites:
    """The host writes as a device does: every `interval_ns`, so many bytes of a ring, and then the
    flag that a waiter monitors.
    """

    interval_ns: int
    ring_bytes: int


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a scenario consists of.

    `words` are the guest's parameters, 32 bits each, in the order that its source documents.
    `neighbours` is how many vCPUs of another machine work beside this one without ever idling.
    """

    vcpus: int
    words: tuple[int, ...]
    deferred: DeferredLoad | None = None
    host_writes: HostWrites | None = None
    neighbours: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """`guest` is the name of a source in bench/laboratory/guests/. `load` says what a run with
    these parameters is. `question` is what it answers, in a sentence. `executors` says whether who
    does deferred work makes a difference.
    """

    name: str
    summary: str
    question: str
    guest: str
    load: Callable[[Values], Load]
    parameters: tuple[Parameter, ...] = ()
    executors: bool = False
    clocks: tuple[str, ...] = field(default=CLOCKS)

    def values(self, given: Values) -> dict[str, float]:
        """All parameters, the given ones checked. Raises LaboratoryError."""
        return complete(f"scenario {self.name}", self.parameters, given)


#: How long a point may be measured, in seconds.
LONGEST_SECONDS: Final = 3600.0


def check_seconds(seconds: float) -> float:
    """`seconds`, if a point may be measured for so long. Raises LaboratoryError."""
    limits = Parameter("seconds", 1.0, 0.001, LONGEST_SECONDS, "s", "length of the measurement")
    return limits.check(seconds)
