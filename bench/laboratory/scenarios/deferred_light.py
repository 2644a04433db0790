"""Deferred work that fits into idle time many times over."""

from __future__ import annotations

from bench.laboratory.scenario import Scenario
from bench.laboratory.scenarios.deferred import load, parameters

SCENARIO = Scenario(
    name="deferred-light",
    summary="two vCPUs wake each other each millisecond, and the VMM gets short tasks now and then",
    question="Who had better do a little deferred work: vCPUs that idle, or a thread of its own?",
    guest="pingpong",
    load=load,
    parameters=parameters(200.0, 20.0),
    executors=True,
)
