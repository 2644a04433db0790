"""Intervals, percentiles and noise, against published values and values worked out by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from bench.laboratory.measures import Measures, encode, encode_histogram, histogram
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Result
from bench.laboratory.statistics import (
    Interval,
    interval,
    latencies,
    student_t,
    summarize,
)

POINT = Point("pingpong", "fault", "vcpu", "wall", "")


def repeats(*measures: Measures) -> list[Result]:
    return [Result(replace(POINT, repeat=number), one) for number, one in enumerate(measures)]


@pytest.mark.parametrize(
    ("degrees", "within_95", "within_99"),
    [  # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, columns 0.975 and 0.995
        (1, 12.706, 63.657),
        (2, 4.303, 9.925),
        (3, 3.182, 5.841),
        (4, 2.776, 4.604),
        (5, 2.571, 4.032),
        (10, 2.228, 3.169),
        (29, 2.045, 2.756),
        (30, 2.042, 2.750),
        (100, 1.984, 2.626),
    ],
)
def test_quantiles_of_t_are_the_published_ones(
    degrees: int, within_95: float, within_99: float
) -> None:
    assert student_t(degrees) == pytest.approx(within_95, abs=6e-4)
    assert student_t(degrees, 0.99) == pytest.approx(within_99, abs=6e-4)


def test_t_nears_the_normal_distribution() -> None:
    assert student_t(20_000) == pytest.approx(1.95998, abs=2e-4)


@pytest.mark.parametrize(("degrees", "confidence"), [(0, 0.95), (3, 1.0), (3, 0.0)])
def test_quantile_that_is_not_there(degrees: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_t(degrees, confidence)


def test_interval_by_hand() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302653 * 1.0 / sqrt(3), rel=1e-6)
    assert interval([5.0]) == Interval(5.0, None, 1)
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_nineteen_intervals_of_twenty_hold_the_true_mean() -> None:
    source = random.Random(7)
    held = 0
    for _ in range(1000):
        found = interval([source.gauss(10.0, 3.0) for _ in range(4)])
        assert found.half_width is not None
        held += abs(found.mean - 10.0) <= found.half_width
    assert 930 <= held <= 970


@pytest.mark.parametrize(
    ("values", "floor", "noisy"),
    [
        ([100.0, 101.0, 99.0], 0.0, False),
        ([100.0, 150.0, 50.0], 0.0, True),
        ([100.0, 150.0, 50.0], 1000.0, False),  # a difference that interests nobody
        ([100.0], 0.0, False),  # one repeat says nothing about its spread
        ([0.0, 0.0], 0.0, False),
    ],
)
def test_noise(values: list[float], floor: float, noisy: bool) -> None:
    assert interval(values).noisy(floor) is noisy


def test_percentiles_are_those_of_all_repeats_together() -> None:
    source = random.Random(3)
    samples = [[int(source.lognormvariate(9, 1)) for _ in range(2000)] for _ in range(3)]
    measures = [Measures(1.0, wake_latency=encode(sample)) for sample in samples]
    summary = summarize(repeats(*measures))[0]
    assert summary.wake_latency is not None
    together = np.sort(np.concatenate(samples))
    assert summary.wake_latency.count == 6000
    for percentile in (50.0, 90.0, 99.0, 99.9):
        expected = together[round(percentile / 100 * 6000) - 1]
        assert summary.wake_latency.percentile(percentile) == pytest.approx(expected, rel=2e-3)
    assert summary.wake_latency.longest == pytest.approx(together.max(), rel=2e-3)
    medians = [sorted(sample)[999] for sample in samples]
    median, own = summary.figures["wake_latency"], interval(medians)
    assert median.mean == pytest.approx(together[2999], rel=2e-3)
    assert median.half_width == pytest.approx(own.half_width, rel=0.1)
    assert median.count == 3


@pytest.mark.parametrize(
    ("count", "known"),
    [(1, set()), (2, {50.0}), (9, {50.0}), (10, {50.0, 90.0}), (999, {50.0, 90.0, 99.0})],
)
def test_percentiles_that_no_latency_lies_above_are_left_out(count: int, known: set[float]) -> None:
    found = latencies(histogram(encode(range(1000, 1000 + count))))
    assert {
        percentile for percentile in (50.0, 90.0, 99.0, 99.9) if found.percentile(percentile)
    } == known
    assert found.count == count


def test_a_thousand_latencies_are_enough_for_the_last_percentile() -> None:
    found = latencies(histogram(encode(range(1, 1001))))
    assert found.percentile(99.9) == 999
    assert (found.count, found.longest) == (1000, 1000)


def test_figures_are_per_second_and_then_averaged() -> None:
    first = Measures(2.0, guest_work=100, exits={"EXIT_MWAIT": 10, "EXIT_IO": 4}, cpu_seconds=1.0)
    second = Measures(1.0, guest_work=150, exits={"EXIT_MWAIT": 7}, cpu_seconds=1.5, lost_wakes=2)
    summary = summarize(repeats(first, second))[0]
    assert summary.mean("guest_work_per_second") == 100.0
    assert summary.mean("exits_per_second") == 7.0
    assert summary.mean("cpu_cores") == 1.0
    assert summary.exits == {"EXIT_MWAIT": 6.0, "EXIT_IO": 1.0}
    assert summary.lost_wakes == 2
    assert summary.mean("neighbour_loss") is None
    assert summary.mean("wake_latency") is None


def test_neighbour() -> None:
    measures = [
        Measures(1.0, neighbour_work=work, neighbour_alone=200.0) for work in (100.0, 110.0)
    ]
    summary = summarize(repeats(*measures))[0]
    assert summary.mean("neighbour_loss") == pytest.approx(0.475)


def test_groups_differ_in_more_than_the_repeat() -> None:
    points = [
        replace(POINT, repeat=1),
        replace(POINT, policy="nop"),
        POINT,
        replace(POINT, parameters={"interval_us": 1.0}),
    ]
    found = summarize(Result(point, Measures(1.0)) for point in points)
    assert [len(one.repeats) for one in found] == [2, 1, 1]


def test_a_noisy_point_says_which_figures() -> None:
    measures = [Measures(1.0, guest_work=work, cpu_seconds=1.0) for work in (100, 200, 300)]
    assert summarize(repeats(*measures))[0].noisy == ["guest_work_per_second"]


def test_damaged_histogram() -> None:
    text = encode([1, 2, 3])
    cut = Measures(1.0, wake_latency=text[: len(text) // 2])
    with pytest.raises(
        LaboratoryError, match="latency histogram of pingpong with fault is damaged"
    ):
        summarize(repeats(cut))


def test_results_without_length() -> None:
    with pytest.raises(LaboratoryError, match="pingpong with fault has no length"):
        summarize(repeats(Measures(0.0)))


def test_empty_histogram_is_none() -> None:
    assert encode_histogram(histogram("")) == ""
    assert latencies(histogram("")).values == {}
