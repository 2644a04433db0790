"""More vCPUs than cores."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    pairs = int(values["pairs"])
    interval_ns = round(1000 * values["interval_us"])
    return Load(vcpus=2 * pairs, words=(interval_ns, int(values["work_units"]), 0, pairs))


SCENARIO = Scenario(
    name="overcommit",
    summary="pairs of vCPUs wake each other and work in turn, more of them than there are cores",
    question="What does a vCPU that idles take from those that could use its core?",
    guest="pingpong",
    load=_load,
    parameters=(
        Parameter("pairs", 4, 1, MOST_VCPUS // 2, "", "of vCPUs, of which one works at a time"),
        Parameter("work_units", 100, 0, 1_000_000, "", "1,000 instructions each, before the wake"),
        Parameter("interval_us", 0.0, 0.0, 4e6, "us", "rest of a woken vCPU before it works"),
    ),
)
