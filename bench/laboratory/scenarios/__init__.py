"""The scenarios, each a module with a SCENARIO; to add one, write it and name it here."""

from __future__ import annotations

from typing import Final

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.scenario import Scenario
from bench.laboratory.scenarios import (
    bimodal,
    deferred_heavy,
    deferred_light,
    false_sharing,
    idle,
    io,
    ipi,
    lock_handoff,
    neighbour,
    never_idle,
    overcommit,
    pingpong,
    timer_tick,
)

_MODULES = (
    pingpong,
    ipi,
    false_sharing,
    lock_handoff,
    idle,
    bimodal,
    timer_tick,
    io,
    deferred_light,
    deferred_heavy,
    never_idle,
    overcommit,
    neighbour,
)

SCENARIOS: Final[dict[str, Scenario]] = {
    module.SCENARIO.name: module.SCENARIO for module in _MODULES
}


def find_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises LaboratoryError, which lists the known, for another."""
    if name not in SCENARIOS:
        raise LaboratoryError(f"unknown scenario {name!r} (known: {', '.join(SCENARIOS)})")
    return SCENARIOS[name]
