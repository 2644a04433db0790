"""A contended lock whose waiters idle."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    words = (int(values["units_with"]), int(values["units_without"]))
    return Load(vcpus=int(values["vcpus"]), words=words)


SCENARIO = Scenario(
    name="lock-handoff",
    summary="vCPUs hold a lock in turn, first come first served, and idle while they wait for it",
    question="How much work gets done when every handoff of a lock is a wake?",
    guest="lock",
    load=_load,
    parameters=(
        Parameter("vcpus", 4, 1, MOST_VCPUS, "", "that want the lock"),
        Parameter("units_with", 5, 0, 1_000_000, "", "of 1,000 instructions while it is held"),
        Parameter("units_without", 5, 0, 1_000_000, "", "until it is wanted again"),
    ),
)
