"""How latencies are distributed: the whole curve, not a mean."""

from __future__ import annotations

from math import log10
from typing import Final

from bench.laboratory.report.drawing import Plot, canvas, legend, scale, strokes, to_svg
from bench.laboratory.report.palette import look
from bench.laboratory.report.sections import Section
from bench.laboratory.statistics import Latencies

#: Percentiles that the axis names; each nine takes the same length of it.
_TICKS: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)

#: Those that make room when it reaches to the last of them.
_CROWDED: Final = (50.0, 99.999)


def distribution(section: Section) -> list[Plot]:
    """The wake latencies of each policy; nothing when none has any."""
    at = section.by_policy(section.at_reference())
    curves = {policy: one.wake_latency for policy, one in at.items() if one.wake_latency}
    if not curves:
        return []
    name, title = f"{section.name}-distribution", "Wake latency by percentile"
    with canvas(3.0) as (figure, axes):
        for policy, latencies in curves.items():
            nines, seconds = _curve(latencies)
            axes.plot(nines, seconds, **strokes(look(policy)), markevery=20)
        values = [value for latencies in curves.values() for value in _curve(latencies)[1]]
        scale(axes.yaxis, values, "s")
        most = max(_curve(latencies)[0][-1] for latencies in curves.values())
        ticks = [tick for tick in _TICKS if _nines(tick) <= most + 0.01]
        if ticks[-1] == _TICKS[-1]:
            ticks = [tick for tick in ticks if tick not in _CROWDED]
        axes.set_xticks([_nines(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("percentile (%)")
        axes.set_ylabel("wake latency")
        legend(figure, {policy: look(policy) for policy in curves})
        svg = to_svg(figure, name, title)
    return [Plot(name, title, "From the waking store or interrupt until the guest noticed.", svg)]


def _nines(percentile: float) -> float:
    return -log10(1 - percentile / 100)


def _curve(latencies: Latencies) -> tuple[list[float], list[float]]:
    """Nines of the percentile, and seconds; the maximum stands where one latency is above."""
    percentiles = sorted(latencies.values)
    nines = [_nines(percentile) for percentile in percentiles]
    seconds = [latencies.values[percentile] / 1e9 for percentile in percentiles]
    return [*nines, log10(latencies.count) + 0.05], [*seconds, latencies.longest / 1e9]
