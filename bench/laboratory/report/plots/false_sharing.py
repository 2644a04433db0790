"""What stores beside the monitored line cost, along their rate."""

from __future__ import annotations

from typing import Final

from bench.laboratory.report.drawing import Plot
from bench.laboratory.report.plots.curve import CPU, FALSE_FAULTS, LATENCY, WORK, curve
from bench.laboratory.report.sections import Section

SCENARIO: Final = "false-sharing"
RATE: Final = "stores_per_second"


def false_sharing(section: Section) -> list[Plot]:
    """False faults, guest work, wake latency and CPU; nothing when the rate was not swept."""
    if section.scenario != SCENARIO or RATE not in section.swept:
        return []
    shown = (
        (FALSE_FAULTS, "False faults"),
        (WORK, "Guest work beside false sharing"),
        (LATENCY, "Wake latency beside false sharing"),
        (CPU, "Host CPU beside false sharing"),
    )
    plots = []
    for quantity, title in shown:
        plots += curve(section, RATE, quantity, title, "stores beside the line, per second")
    return plots
