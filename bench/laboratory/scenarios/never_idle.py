"""Deferred work beside a guest that leaves no time for it."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values
from bench.laboratory.scenarios.deferred import task_parameters, tasks


def _load(values: Values) -> Load:
    return Load(vcpus=int(values["vcpus"]), words=(), deferred=tasks(values))


SCENARIO = Scenario(
    name="never-idle",
    summary="every vCPU works without ever idling, and the VMM gets tasks",
    question="What becomes of deferred work when the guest never idles, and what of the guest?",
    guest="work",
    load=_load,
    parameters=(
        Parameter("vcpus", 1, 1, MOST_VCPUS, "", "that work"),
        *task_parameters(200.0, 100.0),
    ),
    executors=True,
)
