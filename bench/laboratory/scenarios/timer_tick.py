"""A periodic tick."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    words = (round(1e9 / values["hertz"]), int(values["work_units"]))
    return Load(vcpus=int(values["vcpus"]), words=words)


SCENARIO = Scenario(
    name="timer-tick",
    summary="every vCPU has a tick of its own APIC timer, works a little, and idles in between",
    question="What does the way to idle cost a guest that only interrupts wake?",
    guest="tick",
    load=_load,
    parameters=(
        Parameter("vcpus", 2, 1, MOST_VCPUS, "", "with a tick each"),
        Parameter("hertz", 250.0, 1.0, 100_000.0, "Hz", "rate of the tick"),
        Parameter("work_units", 10, 0, 1_000_000, "", "of 1,000 instructions at each tick"),
    ),
)
