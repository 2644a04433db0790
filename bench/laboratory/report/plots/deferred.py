"""Deferred work by who does it: how long tasks wait, and what that costs the guest's wakes."""

from __future__ import annotations

from bench.laboratory.report.drawing import Plot, canvas, scale, to_svg
from bench.laboratory.report.palette import EXECUTORS, INK, look
from bench.laboratory.report.sections import Section
from bench.laboratory.statistics import Latencies, Summary

_OTHER = "D"


def deferred(section: Section) -> list[Plot]:
    """Task and wake latency of each policy by executor; nothing without deferred tasks."""
    shown = [one for one in section.at_reference() if one.task_latency is not None]
    if not shown:
        return []
    plots = _spans(section, shown, "task", "Deferred tasks: submission to end")
    return plots + _spans(section, shown, "wake", "Wake latency beside deferred work")


def _latencies(one: Summary, kind: str) -> Latencies | None:
    return one.task_latency if kind == "task" else one.wake_latency


def _spans(section: Section, shown: list[Summary], kind: str, title: str) -> list[Plot]:
    """A line from the median to p99 for each, policies from top to bottom.

    With so few latencies that there is no such percentile, the longest stands for it.
    """
    from matplotlib.lines import Line2D

    rows = [(one, latencies) for one in shown if (latencies := _latencies(one, kind))]
    if not rows:
        return []
    name = f"{section.name}-{kind}-by-executor"
    policies = list(dict.fromkeys(one.point.policy for one, _ in rows))
    executors = section.executors
    ends: list[float] = []
    with canvas(1.3 + 0.4 * len(policies)) as (figure, axes):
        for one, latencies in rows:
            shift = executors.index(one.point.executor) - (len(executors) - 1) / 2
            place = policies.index(one.point.policy) + shift * 0.24
            ends_at = (latencies.values.get(part, latencies.longest) for part in (50.0, 99.0))
            seconds = [value / 1e9 for value in ends_at]
            axes.plot(
                seconds,
                [place, place],
                color=look(one.point.policy).colour.light,
                marker=EXECUTORS.get(one.point.executor, _OTHER),
                markevery=[0],
                markersize=6.5,
            )
            ends += seconds
        scale(axes.xaxis, ends, "s")
        axes.set_yticks(range(len(policies)), policies)
        axes.set_ylim(len(policies) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"{kind} latency: median, line to p99")
        handles = [
            Line2D([], [], color=INK.light, marker=EXECUTORS.get(executor, _OTHER), linestyle="")
            for executor in executors
        ]
        figure.legend(handles, executors, loc="outside lower center", ncols=min(3, len(executors)))
        svg = to_svg(figure, name, title)
    return [Plot(name, title, "Markers tell who does the work, colours the policy.", svg)]
