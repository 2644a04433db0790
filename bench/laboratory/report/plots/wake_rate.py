"""Cost against wake rate: the same policies while wakes come slower and faster."""

from __future__ import annotations

from typing import Final

from bench.laboratory.report.drawing import Plot
from bench.laboratory.report.plots.curve import CPU, EXITS, LATENCY, curve
from bench.laboratory.report.plots.false_sharing import SCENARIO as FALSE_SHARING
from bench.laboratory.report.sections import Section, parameters
from bench.laboratory.virtual import is_of_host

_AXIS: Final = "wakes per second"

#: A parameter is one of pace when it changes the wakes per second of a policy as much as this.
_CHANGE: Final = 2


def wake_rate(section: Section) -> list[Plot]:
    """Host CPU, exits and wake latency along the measured rate; nothing when no pace was swept."""
    pace = _pace(section)
    if pace is None:
        return []
    shown = (
        (CPU, "Host CPU against wake rate"),
        (EXITS, "Exits against wake rate"),
        (LATENCY, "Wake latency against wake rate"),
    )
    plots = []
    for quantity, title in shown:
        plots += curve(
            section, pace, quantity, title, _AXIS, lambda one: one.mean("wakes_per_second")
        )
    return plots


def _pace(section: Section) -> str | None:
    """The swept parameter that wakes follow the most."""
    changes: dict[str, float] = {}
    for name, values in section.swept.items():
        if is_of_host(name) or name == "seconds" or len(values) < 3:
            continue
        rates: dict[tuple[str, str], list[float]] = {}
        for one in section.at_reference(name):
            if name in parameters(one.point) and (rate := one.mean("wakes_per_second")):
                rates.setdefault((one.point.policy, one.point.executor), []).append(rate)
        whole = [found for found in rates.values() if len(found) > 2]
        changes[name] = max((max(found) / min(found) for found in whole), default=1.0)
    most = max(changes, key=lambda name: changes[name], default=None)
    if most is None or changes[most] < _CHANGE or section.scenario == FALSE_SHARING:
        return None
    return most
