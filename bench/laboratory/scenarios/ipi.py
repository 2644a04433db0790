"""An IPI against a store."""

from __future__ import annotations

from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    interval_ns = round(1000 * values["interval_us"])
    return Load(vcpus=2, words=(interval_ns, 0, int(values["wake_by"]), 1))


SCENARIO = Scenario(
    name="ipi",
    summary="two vCPUs wake each other in turn, by an IPI or by a store",
    question="What does a store to the monitored line save over an IPI?",
    guest="pingpong",
    load=_load,
    parameters=(
        Parameter(
            "wake_by", 1, 0, 1, "", "0: a store, where MWAIT waits for one; 1: always an IPI"
        ),
        Parameter("interval_us", 0.0, 0.0, 4e6, "us", "rest of a woken vCPU before the next wake"),
    ),
)
