"""The kinds of plots. Each makes of a section as many as its data give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.laboratory.report.drawing import Plot
from bench.laboratory.report.plots.deferred import deferred
from bench.laboratory.report.plots.distribution import distribution
from bench.laboratory.report.plots.false_sharing import false_sharing
from bench.laboratory.report.plots.host_map import host_map
from bench.laboratory.report.plots.neighbour import neighbour
from bench.laboratory.report.plots.tradeoff import tradeoff
from bench.laboratory.report.plots.wake_rate import wake_rate
from bench.laboratory.report.sections import Section


@dataclass(frozen=True, slots=True)
class Kind:
    """`needs` says what results have to hold for a plot of it, `sweep` which shipped one does."""

    title: str
    draw: Callable[[Section], list[Plot]]
    needs: str
    sweep: str


KINDS: Final = (
    Kind("Wake latency against host CPU", tradeoff, "wakes under two policies", "quick"),
    Kind("Latency distributions", distribution, "wakes", "quick"),
    Kind("Cost against wake rate", wake_rate, "three paces of wakes", "full"),
    Kind("False sharing", false_sharing, "false-sharing at two rates", "quick"),
    Kind("Deferred work by executor", deferred, "deferred tasks", "quick"),
    Kind("The neighbour", neighbour, "a neighbour under two policies", "quick"),
    Kind("Maps of the host model", host_map, "host_cores against a load", "host"),
)
