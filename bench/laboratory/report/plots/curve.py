"""A figure of each policy along a parameter that was swept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.laboratory.report.drawing import Plot, canvas, legend, points, scale, to_svg
from bench.laboratory.report.palette import look
from bench.laboratory.report.sections import Section, parameters
from bench.laboratory.statistics import Interval, Summary


@dataclass(frozen=True, slots=True)
class Quantity:
    """What an axis shows: a name of Summary.figures, in how many units of the axis one of it is."""

    figure: str
    label: str
    unit: str = ""
    factor: float = 1.0

    def of(self, summary: Summary) -> Interval | None:
        """In the units of the axis."""
        found = summary.figures.get(self.figure)
        if found is None or self.factor == 1:
            return found
        reach = None if found.half_width is None else found.half_width * self.factor
        return Interval(found.mean * self.factor, reach, found.count)


_CAPTION = "Means of the repeats with their intervals."

CPU = Quantity("cpu_cores", "host CPU (cores)")
LATENCY = Quantity("wake_latency", "median wake latency", "s", 1e-9)
EXITS = Quantity("exits_per_second", "exits per second")
FALSE_FAULTS = Quantity("false_faults_per_second", "false faults per second")
WORK = Quantity("guest_work_per_second", "guest work per second")


def curve(
    section: Section,
    parameter: str,
    quantity: Quantity,
    title: str,
    x_label: str,
    x: Callable[[Summary], float | None] | None = None,
) -> list[Plot]:
    """A line for each policy along `parameter`, or along what `x` makes of each summary.

    Nothing when no policy has two points, or all values are zero.
    """
    place = x or (lambda one: parameters(one.point)[parameter])
    lines: dict[str, list[tuple[float, Interval]]] = {}
    for one in section.at_reference(parameter):
        value, at = quantity.of(one), place(one)
        if one.point.executor == section.executors[0] and value is not None and at is not None:
            lines.setdefault(one.point.policy, []).append((at, value))
    lines = {policy: sorted(found, key=_place) for policy, found in lines.items()}
    lines = {policy: found for policy, found in lines.items() if len(found) > 1}
    values = [value.mean for found in lines.values() for _, value in found]
    if not any(values):
        return []
    name = f"{section.name}-{quantity.figure.replace('_', '-')}-curve"
    with canvas(3.0) as (figure, axes):
        for policy, found in lines.items():
            reach = [value.half_width or 0.0 for _, value in found]
            means = [value.mean for _, value in found]
            points(axes, look(policy), [at for at, _ in found], means, ([], reach))
        scale(axes.xaxis, [at for found in lines.values() for at, _ in found], "")
        scale(axes.yaxis, values, quantity.unit)
        axes.set_xlabel(x_label)
        axes.set_ylabel(quantity.label)
        legend(figure, {policy: look(policy) for policy in lines})
        svg = to_svg(figure, name, title)
    fixed = section.at(parameter)
    caption = f"{_CAPTION} At {fixed}." if fixed else _CAPTION
    return [Plot(name, title, caption, svg)]


def _place(point: tuple[float, Interval]) -> float:
    return point[0]
