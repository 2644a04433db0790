"""The modelled host: a figure over cores and load, a map for each policy and executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log10
from typing import Final

from bench.laboratory.report.drawing import DECADES, Plot, canvas, to_svg
from bench.laboratory.report.palette import MAP
from bench.laboratory.report.sections import Section, number, parameters, slug
from bench.laboratory.statistics import Summary
from bench.laboratory.virtual import is_of_host
from bench.units import duration

#: What stands at the side of a map.
CORES: Final = "host_cores"


@dataclass(frozen=True, slots=True)
class _Quantity:
    """What a map shows; `text` writes a value into its cell."""

    name: str
    title: str
    value: Callable[[Summary], float | None]
    text: Callable[[float], str]


def _p99(kind: str) -> Callable[[Summary], float | None]:
    def value(one: Summary) -> float | None:
        latencies = one.task_latency if kind == "task" else one.wake_latency
        if latencies is None:
            return None
        return float(latencies.values.get(99.0, latencies.longest))

    return value


_QUANTITIES: Final = (
    _Quantity("wake-p99", "p99 of wake latency", _p99("wake"), duration),
    _Quantity("task-p99", "p99 of deferred tasks", _p99("task"), duration),
    _Quantity(
        "neighbour-loss",
        "work that the neighbour loses",
        lambda one: one.mean("neighbour_loss"),
        lambda value: f"{value:.1%}",
    ),
)


def axes_of(section: Section) -> tuple[str, str] | None:
    """What stands at the bottom and at the side; None when the host was not swept both ways."""
    loads = {name: found for name, found in section.swept.items() if name != CORES}
    if CORES not in section.swept or not loads:
        return None
    hosts = {name: found for name, found in loads.items() if is_of_host(name)}
    return max(hosts or loads, key=lambda name: len(loads[name])), CORES


def host_map(section: Section) -> list[Plot]:
    """Maps of each quantity that varies, in one range of colours for all policies and executors."""
    found = axes_of(section)
    if found is None:
        return []
    bottom, side = found
    groups: dict[tuple[str, str], list[Summary]] = {}
    for one in section.at_reference(bottom, side):
        groups.setdefault((one.point.policy, one.point.executor), []).append(one)
    plots = []
    for quantity in _QUANTITIES:
        maps = {
            key: {
                (parameters(one.point)[bottom], parameters(one.point)[side]): value
                for one in summaries
                if (value := quantity.value(one)) is not None
            }
            for key, summaries in groups.items()
        }
        values = [value for cells in maps.values() for value in cells.values()]
        if len(set(values)) < 2:
            continue
        for (policy, executor), cells in maps.items():
            if cells:
                who = f"{policy}, {executor}" if len(section.executors) > 1 else policy
                name = slug(section.name, "map", quantity.name, policy, executor)
                title = f"{who}: {quantity.title}"
                plots.append(_draw(section, (bottom, side), cells, values, quantity, name, title))
    return plots


def _draw(
    section: Section,
    names: tuple[str, str],
    cells: Mapping[tuple[float, float], float],
    values: list[float],
    quantity: _Quantity,
    name: str,
    title: str,
) -> Plot:
    from matplotlib import colormaps

    bottom, side = names
    columns, rows = section.swept[bottom], section.swept[side]
    logarithmic = min(values) > 0 and max(values) >= DECADES * min(values)
    position: Callable[[float], float] = log10 if logarithmic else float
    low, high = position(min(values)), position(max(values))
    with canvas(1.1 + 0.36 * len(rows)) as (figure, axes):
        for (x, y), value in cells.items():
            colour = colormaps[MAP]((position(value) - low) / (high - low))
            across, up = columns.index(x), rows.index(y)
            axes.barh(up, 1, height=1, left=across - 0.5, color=colour)
            red, green, blue, _ = colour
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
            axes.text(
                across,
                up,
                quantity.text(value),
                ha="center",
                va="center",
                fontsize=8.5 if len(columns) <= 6 else 6.5,
                color="#ffffff" if dark else "#000000",
            )
        axes.grid(visible=False)
        axes.set_xticks(range(len(columns)), [number(value) for value in columns])
        axes.set_yticks(range(len(rows)), [number(value) for value in rows])
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xlabel(bottom)
        axes.set_ylabel(side)
        svg = to_svg(figure, name, title)
    fixed = section.at(bottom, side)
    caption = "One range of colours for all; of less than a hundred latencies the longest, not p99."
    return Plot(name, title, f"At {fixed}. {caption}" if fixed else caption, svg)
