"""Deferred work that takes half a core."""

from __future__ import annotations

from bench.laboratory.scenario import Scenario
from bench.laboratory.scenarios.deferred import load, parameters

SCENARIO = Scenario(
    name="deferred-heavy",
    summary="the same with tasks that take half a core, in steps",
    question="And much deferred work, which delays the guest or contends with it for the cores?",
    guest="pingpong",
    load=load,
    parameters=parameters(250.0, 2000.0),
    executors=True,
)
