"""Stores beside the monitored line."""

from __future__ import annotations

from bench.laboratory.parameter import LaboratoryError, Parameter
from bench.laboratory.scenario import Load, Scenario, Values

#: Bursts follow one another so often, and not oftener: a timer for each store would be the load.
_BURSTS_PER_SECOND = 2000


def _load(values: Values) -> Load:
    rate = values["stores_per_second"]
    if 0 < rate < 1:
        raise LaboratoryError(f"stores_per_second must be 0 or at least 1, not {rate:g}")
    burst = max(1, round(rate / _BURSTS_PER_SECOND)) if rate else 0
    period_ns = round(1e9 * burst / rate) if rate else 0
    interval_ns = round(1000 * values["interval_us"])
    return Load(vcpus=3, words=(interval_ns, 0, 0, 1, burst, period_ns))


SCENARIO = Scenario(
    name="false-sharing",
    summary="two vCPUs wake each other by stores; a third one stores to other lines of their pages",
    question="What do stores to the page cost that do not touch the monitored line?",
    guest="pingpong",
    load=_load,
    parameters=(
        Parameter(
            "stores_per_second", 100_000.0, 0.0, 1e9, "/s", "beside the line; 0 or at least 1"
        ),
        Parameter("interval_us", 1000.0, 0.0, 4e6, "us", "rest of a woken vCPU before the wake"),
    ),
)
