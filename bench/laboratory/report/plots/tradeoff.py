"""Wake latency against host CPU: what a policy pays for what it gives."""

from __future__ import annotations

from bench.laboratory.report.drawing import Plot, canvas, legend, points, scale, to_svg
from bench.laboratory.report.palette import look
from bench.laboratory.report.sections import Section


def tradeoff(section: Section) -> list[Plot]:
    """A point for each policy; none when fewer than two have wakes."""
    at = section.by_policy(section.at_reference())
    shown = {name: one for name, one in at.items() if one.wake_latency is not None}
    if len(shown) < 2:
        return []
    name, title = f"{section.name}-tradeoff", "Wake latency against host CPU"
    with canvas() as (figure, axes):
        for policy, one in shown.items():
            cores, median = one.figures["cpu_cores"], one.figures["wake_latency"]
            reach = [cores.half_width or 0.0], [(median.half_width or 0.0) / 1e9]
            where = [cores.mean], [median.mean / 1e9]
            points(axes, look(policy), *where, reach, linestyle="", markersize=8)
        scale(axes.xaxis, [one.figures["cpu_cores"].mean for one in shown.values()], "")
        scale(axes.yaxis, [one.figures["wake_latency"].mean / 1e9 for one in shown.values()], "s")
        axes.set_xlabel("host CPU (cores)")
        axes.set_ylabel("median wake latency")
        legend(figure, {policy: look(policy) for policy in shown})
        svg = to_svg(figure, name, title)
    return [Plot(name, title, "Down and to the left is better.", svg)]
