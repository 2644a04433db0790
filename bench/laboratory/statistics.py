"""Repeats of one point, put together: means with confidence intervals, percentiles, noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, isclose, pi, sin, sqrt
from statistics import fmean, stdev
from typing import Final

from hdrh.histogram import HdrHistogram

from bench.laboratory.measures import Measures, histogram, new_histogram
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Result

#: How sure an interval is that it holds the true mean.
CONFIDENCE: Final = 0.95

#: A figure is too noisy when its interval reaches further than this share of its mean to a side.
NOISY_SHARE: Final = 0.2

#: The percentiles that are given of latencies; the maximum stands beside them.
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


@lru_cache
def student_t(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The t that a Student-distributed value stays within, to both sides, with this probability.

    `degrees` of freedom are 1 or more. Inverts the finite series for whole degrees (Abramowitz and
    Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4) by halving intervals. Raises
    ValueError for degrees below 1 or a confidence outside of 0..1.
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"no quantile of t for {degrees} degrees and a confidence of {confidence}")
    low, high = 0.0, 1.0
    while _within(high, degrees) < confidence:
        low, high = high, 2 * high
    while not isclose(low, high, rel_tol=1e-12):
        middle = (low + high) / 2
        if _within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return high


def _within(t: float, degrees: int) -> float:
    """The probability that a Student-distributed value is in -t..t."""
    angle = atan(t / sqrt(degrees))
    odd = degrees % 2
    term = cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for power in range(2 + odd, degrees - 1, 2):  # cos to the power of 2, 4, ... or of 3, 5, ...
        term *= cos(angle) ** 2 * (power - 1) / power
        total += term
    total *= sin(angle)
    return 2 / pi * (angle + total) if odd else total


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `count` repeats, and how far its confidence interval reaches to either side; None
    for a single repeat, which says nothing about its spread.
    """

    mean: float
    half_width: float | None
    count: int

    def noisy(self, floor: float) -> bool:
        """Whether the mean is worth little: the interval reaches further than NOISY_SHARE of the
        mean, and further than `floor`, below which a difference interests nobody.
        """
        if self.half_width is None:
            return False
        return self.half_width > max(NOISY_SHARE * abs(self.mean), floor)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean and confidence interval of repeats. Raises ValueError when there are none."""
    if not values:
        raise ValueError("no values to take the mean of")
    count = len(values)
    if count == 1:
        return Interval(float(values[0]), None, 1)
    half = student_t(count - 1, confidence) * stdev(values) / sqrt(count)
    return Interval(fmean(values), half, count)


@dataclass(frozen=True, slots=True)
class Latencies:
    """How latencies are distributed: how many there are, the longest in ns, and the ns at each of
    some percentiles, PERCENTILES among them. Those are left out that not one latency lies above:
    they would be the maximum by another name.
    """

    count: int
    longest: int
    values: Mapping[float, int]

    def percentile(self, percentile: float) -> int | None:
        """In ns; None when there are too few latencies for it."""
        return self.values.get(percentile)


def latencies(histogram: HdrHistogram) -> Latencies:
    """What a histogram holds, at twenty percentiles to each tenth of what is above them."""
    count = int(histogram.get_total_count())
    steps = [100 * (1 - 10 ** (-step / 20)) for step in range(20 * len(str(count)))]
    known = [
        percentile
        for percentile in sorted({*steps, *PERCENTILES})
        if count * (100 - percentile) >= 100 * (1 - 1e-9)
    ]
    values = histogram.get_percentile_to_value_dict(known) if known else {}
    return Latencies(
        count,
        int(histogram.get_max_value()),
        {percentile: int(value) for percentile, value in values.items()},
    )


#: What is computed of each repeat and then averaged; per second of the clock in use.
FIGURES: Final[Mapping[str, Callable[[Measures], float | None]]] = {
    "guest_work_per_second": lambda m: m.guest_work / m.seconds,
    "wakes_per_second": lambda m: m.wakes / m.seconds,
    "spurious_wakes_per_second": lambda m: m.spurious_wakes / m.seconds,
    "instructions_per_second": lambda m: m.instructions / m.seconds,
    "exits_per_second": lambda m: sum(m.exits.values()) / m.seconds,
    "sleeps_per_second": lambda m: m.sleeps / m.seconds,
    "write_faults_per_second": lambda m: m.write_faults / m.seconds,
    "false_faults_per_second": lambda m: m.false_faults / m.seconds,
    "tasks_per_second": lambda m: m.tasks_done / m.seconds,
    "cpu_cores": lambda m: m.cpu_seconds / m.seconds,
    "neighbour_work_per_second": lambda m: m.neighbour_work,
    "neighbour_loss": lambda m: m.neighbour_loss,
}

#: The figures that decide whether a point is too noisy, and the difference that interests nobody:
#: of a core a hundredth, of a latency 100 ns, of a share a hundredth.
DECIDING: Final[Mapping[str, float]] = {
    "guest_work_per_second": 0.0,
    "cpu_cores": 0.01,
    "neighbour_loss": 0.01,
    "wake_latency": 100.0,
    "task_latency": 100.0,
}


@dataclass(frozen=True, slots=True)
class Repeat:
    """A result with its latencies read; None where nothing was measured."""

    point: Point
    measures: Measures
    wake_latency: Latencies | None
    task_latency: Latencies | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The repeats of a group in one.

    `point` is the first of them. Latencies are those of all repeats together. `figures` have the
    names of FIGURES, and `wake_latency` and `task_latency`: the median of all together in ns, with
    the interval of the repeats' own medians; what was not measured is left out. `exits` are by
    reason per second.
    """

    point: Point
    repeats: Sequence[Repeat]
    figures: Mapping[str, Interval]
    lost_wakes: int
    wake_latency: Latencies | None
    task_latency: Latencies | None
    exits: Mapping[str, float]

    def mean(self, figure: str) -> float | None:
        """The mean of a figure, None if it was not measured."""
        found = self.figures.get(figure)
        return None if found is None else found.mean

    @property
    def noisy(self) -> list[str]:
        """The names out of DECIDING whose intervals are too wide; [] when all can be used."""
        return [
            name
            for name, floor in DECIDING.items()
            if name in self.figures and self.figures[name].noisy(floor)
        ]


def summarize(results: Iterable[Result]) -> list[Summary]:
    """A summary for each group, in the order in which they first come.

    Raises LaboratoryError for results that cannot be: without length, or a damaged histogram.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.point.group, []).append(result)
    return [_summary(group) for group in groups.values()]


def _summary(group: Sequence[Result]) -> Summary:
    point, measures = group[0].point, [result.measures for result in group]
    if any(one.seconds <= 0 for one in measures):
        raise LaboratoryError(f"a result of {point.scenario} with {point.policy} has no length")
    wakes, tasks = _Together(point), _Together(point)
    repeats = [
        Repeat(
            result.point,
            result.measures,
            wakes.read(result.measures.wake_latency),
            tasks.read(result.measures.task_latency),
        )
        for result in group
    ]
    values = {name: [figure(one) for one in measures] for name, figure in FIGURES.items()}
    known = {name: [one for one in column if one is not None] for name, column in values.items()}
    figures = {name: interval(column) for name, column in known.items() if column}
    for name, together in (("wake_latency", wakes), ("task_latency", tasks)):
        if (median := together.median) is not None:
            figures[name] = median
    reasons = dict.fromkeys(reason for one in measures for reason in one.exits)
    return Summary(
        point=point,
        repeats=repeats,
        figures=figures,
        lost_wakes=sum(one.lost_wakes for one in measures),
        wake_latency=wakes.latencies,
        task_latency=tasks.latencies,
        exits={
            reason: fmean(one.exits.get(reason, 0) / one.seconds for one in measures)
            for reason in reasons
        },
    )


class _Together:
    """The histograms of a group, one after the other: they are large, so none is kept."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._merged = new_histogram()
        self._medians: list[float] = []

    def read(self, text: str) -> Latencies | None:
        """The latencies of a repeat. Raises LaboratoryError for a damaged histogram."""
        if not text:
            return None
        try:
            one = histogram(text)
        except Exception as error:  # base64's, zlib's and hdrh's own, which have no common class
            raise LaboratoryError(
                f"a latency histogram of {self._point.scenario} with {self._point.policy} is"
                f" damaged: {error}"
            ) from None
        self._merged.add(one)
        self._medians.append(float(one.get_value_at_percentile(50)))
        return latencies(one)

    @property
    def latencies(self) -> Latencies | None:
        """Those of all repeats together, None when there are none."""
        return latencies(self._merged) if self._medians else None

    @property
    def median(self) -> Interval | None:
        """Of all repeats together, with the interval of their own; None when there are none."""
        if not self._medians:
            return None
        own = interval(self._medians)
        together = float(self._merged.get_value_at_percentile(50))
        return Interval(together, own.half_width, own.count)
