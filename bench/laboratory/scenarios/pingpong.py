"""Two vCPUs wake each other by stores."""

from __future__ import annotations

from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    interval_ns = round(1000 * values["interval_us"])
    return Load(vcpus=2, words=(interval_ns, int(values["work_units"]), 0, 1))


SCENARIO = Scenario(
    name="pingpong",
    summary="two vCPUs wake each other in turn, by a store to the line that the other one monitors",
    question="What does a wake by a plain store cost, and is one ever lost?",
    guest="pingpong",
    load=_load,
    parameters=(
        Parameter("interval_us", 0.0, 0.0, 4e6, "us", "rest of a woken vCPU before it works"),
        Parameter("work_units", 0, 0, 1_000_000, "", "1,000 instructions each, before the wake"),
    ),
)
