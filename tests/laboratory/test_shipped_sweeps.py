"""The sweeps that come with the laboratory, and real points of virtual time in a sweep."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bench.laboratory.engines import catalogue, measure
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.scenarios import SCENARIOS
from bench.laboratory.sweep.definition import load, parse, shipped
from bench.laboratory.sweep.local import run_local
from bench.laboratory.sweep.run import Ran, run
from tests.laboratory.fake import Watcher

#: Short points, with much that is random.
SMALL = """
clock = "virtual"
costs = ["bare-metal", "nested"]
policies = ["fault", "hlt-block"]
seconds = 0.002
[[block]]
scenarios = "bimodal"
policies = "fault"
repeats = 2
[[block]]
scenarios = "deferred-heavy"
costs = "bare-metal"
executors = ["vcpu", "helpers"]
parameters = { host_cores = 2, host_load = 0.25 }
"""


@pytest.mark.parametrize("name", shipped())
def test_its_points_can_be(name: str) -> None:
    sweep = load(name, catalogue())
    assert sweep.name == name
    for point in sweep.points:
        SCENARIOS[point.scenario].load(point.parameters)


def test_quick_takes_less_than_three_minutes() -> None:
    """A point takes its time, and at most as much again to begin and to end; `neighbour` two of
    them. What is over of the three minutes is for the report.
    """
    points = load("quick", catalogue()).points
    assert {point.clock for point in points} == {"wall"}
    assert (
        sum(point.seconds * (4 if point.scenario == "neighbour" else 2) for point in points) < 150
    )


def test_full_has_all_scenarios_and_policies() -> None:
    there = catalogue()
    points = load("full", there).points
    assert {(point.scenario, point.policy) for point in points} == {
        (scenario, policy) for scenario in there.scenarios for policy in there.policies
    }


def test_virtual_results_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    """In two runs, and in one process and two."""
    sweep = parse("small.toml", SMALL, catalogue())
    files = []
    for jobs in (1, 2):
        path = tmp_path / f"{jobs}"
        runner = partial(run_local, jobs=jobs, measure=measure)
        assert run(sweep, path, runner, Watcher()) == Ran(0, len(sweep.points), 0)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_cost_table_is_named_by_a_path(tmp_path: Path) -> None:
    text = SMALL.replace('["bare-metal", "nested"]', f'"{tmp_path}/mine.toml"')
    with pytest.raises(LaboratoryError, match=r"small.toml, block 1: cannot read the cost table"):
        parse("small.toml", text, catalogue())
