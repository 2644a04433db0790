"""Nobody wakes."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values


def _load(values: Values) -> Load:
    return Load(vcpus=int(values["vcpus"]), words=())


SCENARIO = Scenario(
    name="idle",
    summary="every vCPU idles, and nobody wakes it",
    question="What does a guest cost that does nothing?",
    guest="idle",
    load=_load,
    parameters=(Parameter("vcpus", 2, 1, MOST_VCPUS, "", "that idle"),),
)
