"""Another machine that could use the host's cores."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    interval_ns = round(1000 * values["interval_us"])
    return Load(vcpus=2, words=(interval_ns, 0, 0, 1), neighbours=int(values["neighbours"]))


SCENARIO = Scenario(
    name="neighbour",
    summary="two vCPUs mostly idle, and another machine works beside them without ever idling",
    question="How much work does a neighbour lose to a guest that idles?",
    guest="pingpong",
    load=_load,
    parameters=(
        Parameter("neighbours", 2, 1, MOST_VCPUS, "", "vCPUs of the other machine"),
        Parameter("interval_us", 10_000.0, 0.0, 4e6, "us", "rest of a woken vCPU before the wake"),
    ),
)
