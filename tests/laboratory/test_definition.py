"""Definitions of sweeps: which points they give, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.sweep.definition import load
from tests.laboratory.fake import CATALOGUE, sweep

VIRTUAL = 'clock = "virtual"\ncosts = "cheap"\n'


def test_a_block_is_the_product_of_its_lists() -> None:
    points = sweep(
        """
        clock = "virtual"
        scenarios = ["alpha", "beta"]
        policies = ["exit", "fault"]
        executors = "all"
        costs = ["cheap", "dear"]
        parameters = { pause_ms = [0, 1.5], host_cores = 4 }
        seconds = 0.25
        repeats = 3
        """
    ).points
    alphas = [point for point in points if point.scenario == "alpha"]
    betas = [point for point in points if point.scenario == "beta"]
    assert len(alphas) == 2 * 2 * 2 * 3  # the executor makes no difference to it
    assert len(betas) == 2 * 2 * 2 * 2 * 3
    assert len({point.key for point in points}) == len(points) == len(alphas) + len(betas)
    assert {point.executor for point in alphas} == {"vcpu"}
    assert points[0] == Point(
        scenario="alpha",
        policy="exit",
        executor="vcpu",
        clock="virtual",
        costs="cheap",
        parameters={"pause_ms": 0.0, "fate": 0, "host_cores": 4},
        seconds=0.25,
        repeat=0,
    )
    repeats = [point.repeat for point in points]
    assert repeats == sorted(repeats)  # all points once, then all of them again


def test_blocks_inherit_what_stands_above_them() -> None:
    points = sweep(
        """
        policies = ["nop", "exit"]
        seconds = 2
        [parameters]
        pause_ms = 1
        [[block]]
        scenarios = "alpha"
        parameters = { fate = 1 }
        [[block]]
        scenarios = "beta"
        policies = "fault"
        seconds = 0.5
        """
    ).points
    assert [(point.scenario, point.policy, point.seconds) for point in points] == [
        ("alpha", "nop", 2.0),
        ("alpha", "exit", 2.0),
        ("beta", "fault", 0.5),
    ]
    assert points[0].parameters == {"pause_ms": 1.0, "fate": 1}
    assert points[2].parameters == {"pause_ms": 1.0, "wakers": 1}


def test_a_point_of_two_blocks_is_one() -> None:
    text = '[[block]]\nscenarios = "gamma"\n'
    assert sweep(text + text).points == sweep(text).points


def test_all_and_the_defaults() -> None:
    points = sweep('scenarios = "all"').points
    assert {point.scenario for point in points} == {"alpha", "beta", "gamma"}
    assert {point.policy for point in points} == {"nop", "exit", "fault"}
    assert {(point.clock, point.costs, point.repeat) for point in points} == {("wall", "", 0)}
    assert "host_cores" not in points[0].parameters  # that is the real one


def test_describe_tells_points_of_a_sweep_apart() -> None:
    text = 'scenarios = "beta"\npolicies = ["nop"]\nparameters = { wakers = [1, 2] }\n'
    swept = sweep(VIRTUAL + text)
    assert [swept.describe(point) for point in swept.points] == [
        "beta, nop, vcpu, cheap, wakers=1, repeat 0",
        "beta, nop, vcpu, cheap, wakers=2, repeat 0",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("scenarios = [", "fake.toml is no TOML"),
        ("", "names no scenario (known: alpha, beta, gamma)"),
        ('scenarios = "delta"', "unknown scenario 'delta' (known: alpha, beta, gamma)"),
        ('scenarios = "alpha"\npolicies = ["nop", "sleepy"]', "unknown policy 'sleepy' (known: no"),
        ('scenarios = "alpha"\npolicies = []', "names no policy"),
        ('scenarios = "alpha"\nexecutors = "cook"', "unknown executor 'cook' (known: vcpu, work"),
        ('scenarios = "alpha"\nclock = "water"', "unknown clock 'water' (known: wall, virtual)"),
        ('scenarios = "alpha"\ncosts = "cheap"', "costs are for the virtual clock only"),
        ('scenarios = "alpha"\nclock = "virtual"', "virtual time needs costs"),
        (VIRTUAL.replace("cheap", "free") + 'scenarios = "alpha"', "unknown cost table 'free'"),
        (VIRTUAL + 'scenarios = "gamma"', "scenario gamma has no virtual clock (only wall)"),
        ('scenarios = "alpha"\ncolour = 1', "unknown key 'colour' (known: scenarios, policies"),
        ('scenarios = "alpha"\nparameters = 1', "parameters must be a table, not 1"),
        ('scenarios = "alpha"\nparameters = { pause_ms = [] }', "parameter pause_ms has no value"),
        (
            'scenarios = "alpha"\nparameters = { speed = 1 }',
            "scenario alpha has no parameter 'speed' here (known: pause_ms, fate)",
        ),
        (
            'scenarios = "alpha"\nparameters = { host_cores = 1 }',
            "scenario alpha has no parameter 'host_cores' here",
        ),
        (
            'scenarios = "alpha"\nparameters = { pause_ms = -1 }',
            "scenario alpha: pause_ms must be in 0..10000 ms, not -1",
        ),
        (
            'scenarios = "alpha"\nparameters = { fate = 0.5 }',
            "scenario alpha: fate must be a whole number, not 0.5",
        ),
        (
            'scenarios = "alpha"\nparameters = { pause_ms = "long" }',
            "scenario alpha: pause_ms must be a number, not 'long'",
        ),
        (
            VIRTUAL + 'scenarios = "alpha"\nparameters = { host_cores = 0 }',
            "the host model: host_cores must be in 1..1024, not 0",
        ),
        ('scenarios = "alpha"\nseconds = 0', "seconds must be in 0.001..3600 s, not 0"),
        ('scenarios = "alpha"\nseconds = nan', "seconds must be a number, not nan"),
        ('scenarios = "alpha"\nrepeats = 0', "repeats must be in 1..10000, not 0"),
        ('scenarios = "alpha"\nrepeats = true', "repeats must be in 1..10000, not True"),
        ('[[block]]\nscenarios = "alpha"\n[[block]]\nseconds = 1', "fake.toml, block 2: names no"),
        ("block = 1", "a block is written as [[block]]"),
        ("block = []", "fake.toml has no block"),
        ('scenarios = "all"\nrepeats = 10000\nexecutors = "all"', "fake.toml has 120,000 points"),
    ],
)
def test_refused(text: str, complaint: str) -> None:
    with pytest.raises(LaboratoryError) as refused:
        sweep(text)
    assert complaint in str(refused.value)
    assert str(refused.value).startswith("fake.toml")


def test_too_many_combinations_are_refused_before_they_are_made() -> None:
    many = ", ".join(f"{number / 1000}" for number in range(1000))
    with pytest.raises(LaboratoryError, match="more than 100,000 combinations"):
        sweep(f'scenarios = "beta"\nparameters = {{ pause_ms = [{many}], wakers = [{many}] }}')


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LaboratoryError, match="cannot read the sweep missing: No such file"):
        load("missing", CATALOGUE)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(LaboratoryError, match="it is no text"):
        load(str(binary), CATALOGUE)


def test_a_file_is_named_without_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('scenarios = "gamma"')
    assert load(str(path), CATALOGUE).name == "mine.toml"
