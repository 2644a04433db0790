"""Parameters, points and measures: bounds, and what comes back from their plain form."""

from __future__ import annotations

import json
import pickle

import pytest

from bench.laboratory import measures
from bench.laboratory.measures import Measures
from bench.laboratory.parameter import LaboratoryError, Parameter, complete
from bench.laboratory.point import Point
from bench.laboratory.scenario import check_seconds

WHOLE = Parameter("count", 2, 1, 10, "", "so many")
LENGTH = Parameter("length_us", 5.0, 0.5, 100.0, "us", "so long")


@pytest.mark.parametrize(
    ("parameter", "value", "complaint"),
    [
        (WHOLE, 0, "count must be in 1..10, not 0"),
        (WHOLE, 11, "count must be in 1..10, not 11"),
        (WHOLE, 1.5, "count must be a whole number, not 1.5"),
        (WHOLE, True, "count must be a number, not True"),
        (WHOLE, "2", "count must be a number, not '2'"),
        (WHOLE, None, "count must be a number, not None"),
        (LENGTH, 0.4, "length_us must be in 0.5..100 us, not 0.4"),
        (LENGTH, float("nan"), "length_us must be a number, not nan"),
        (LENGTH, float("inf"), "length_us must be a number, not inf"),
    ],
)
def test_a_value_that_cannot_be(parameter: Parameter, value: float, complaint: str) -> None:
    with pytest.raises(LaboratoryError) as refused:
        parameter.check(value)
    assert str(refused.value) == complaint


def test_a_value_takes_the_type_of_the_default() -> None:
    """So that a point has one key, however its numbers were written."""
    assert [(type(value), value) for value in (WHOLE.check(3.0), LENGTH.check(7))] == [
        (int, 3),
        (float, 7.0),
    ]


def test_complete_gives_every_parameter_in_order() -> None:
    values = complete("it", (WHOLE, LENGTH), {"length_us": 1})
    assert list(values.items()) == [("count", 2), ("length_us", 1.0)]


def test_complete_names_whose_parameters_they_are() -> None:
    with pytest.raises(LaboratoryError) as refused:
        complete("it", (WHOLE, LENGTH), {"width": 1})
    assert str(refused.value) == "it has no parameter 'width' (known: count, length_us)"
    with pytest.raises(LaboratoryError, match=r"^it: count must be in 1..10, not 0$"):
        complete("it", (WHOLE, LENGTH), {"count": 0})


def test_the_length_of_a_measurement_is_bounded() -> None:
    assert check_seconds(2) == 2.0
    with pytest.raises(LaboratoryError, match=r"seconds must be in 0.001..3600 s, not 3601"):
        check_seconds(3601)


POINT = Point("alpha", "fault", "vcpu", "virtual", "cheap", {"b": 1, "a": 2.5}, 0.5, 3)


def test_a_point_comes_back() -> None:
    assert Point.from_dict(json.loads(json.dumps(POINT.as_dict()))) == POINT
    assert pickle.loads(pickle.dumps(POINT)) == POINT
    bare = Point("alpha", "fault", "vcpu", "wall", "")
    assert pickle.loads(pickle.dumps(bare)) == bare  # it travels to other processes


def test_the_key_is_the_same_for_equal_points_only() -> None:
    fields = POINT.as_dict()
    same = Point.from_dict(fields | {"parameters": {"a": 2.5, "b": 1}})
    assert same.key == POINT.key
    others = {
        "scenario": "beta",
        "policy": "nop",
        "executor": "workers",
        "clock": "wall",
        "costs": "dear",
        "parameters": {"b": 1, "a": 2},
        "seconds": 1.0,
        "repeat": 4,
    }
    assert set(others) == set(fields)
    changed = [Point.from_dict(fields | {name: value}) for name, value in others.items()]
    assert len({point.key for point in [POINT, *changed]}) == 1 + len(others)
    same_group = [point for point in changed if point.group == POINT.group]
    assert same_group == [changed[-1]]  # the repeat alone is not in it


def test_a_point_refuses_fields_that_it_has_not() -> None:
    with pytest.raises(TypeError):
        Point.from_dict(POINT.as_dict() | {"colour": "red"})


def test_measures_come_back() -> None:
    given = Measures(
        seconds=0.1 + 0.2,
        guest_work=1 << 40,
        wakes=3,
        wake_latency=measures.encode([100, 2000]),
        exits={"EXIT_MWAIT": 2, "EXIT_HLT": 1},
        cpu_seconds=1 / 3,
        neighbour_work=7.0,
    )
    back = Measures.from_dict(json.loads(json.dumps(given.as_dict())))
    assert back == given
    assert list(back.exits) == ["EXIT_MWAIT", "EXIT_HLT"]
    with pytest.raises(TypeError):
        Measures.from_dict(given.as_dict() | {"colour": "red"})


@pytest.mark.parametrize(
    ("work", "alone", "loss"), [(75.0, 100.0, 0.25), (None, 100.0, None), (0.0, 0.0, None)]
)
def test_the_neighbours_loss(work: float | None, alone: float, loss: float | None) -> None:
    assert Measures(1.0, neighbour_work=work, neighbour_alone=alone).neighbour_loss == loss


def test_latencies_keep_three_digits() -> None:
    latencies = [1, 999, 1_234, 56_789, 12_345_678, 3_600_000_000_000]
    back = measures.histogram(measures.encode(latencies))
    assert back.get_total_count() == len(latencies)
    for rank, latency in enumerate(latencies, 1):
        value = back.get_value_at_percentile(100 * rank / len(latencies))
        assert value == pytest.approx(latency, rel=0.001)


def test_latencies_beyond_the_scale_stand_at_its_ends() -> None:
    back = measures.histogram(measures.encode([-5, 0, 10**15]))
    assert back.get_total_count() == 3
    assert back.get_min_value() == 1
    assert back.get_max_value() == pytest.approx(3600 * 10**9, rel=0.001)


def test_no_latencies_are_no_text() -> None:
    assert measures.encode([]) == ""
    assert measures.histogram("").get_total_count() == 0
