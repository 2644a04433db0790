"""Sweeps on processes of this host: resumed, interrupted, and with points that fail."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.results import read_results
from bench.laboratory.sweep.local import run_local
from bench.laboratory.sweep.run import Ran, Runner, header, run
from bench.laboratory.sweep.store import opened
from tests.laboratory.fake import FINE, KILLED, REFUSED, WRONG, Watcher, measure, sweep

SMALL = 'clock = "virtual"\ncosts = "cheap"\nscenarios = "alpha"\nrepeats = 2\n'


def local(jobs: int) -> Runner:
    return partial(run_local, jobs=jobs, measure=measure)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_one_worker_and_three_give_the_same_file(path: Path) -> None:
    swept = sweep(SMALL + "parameters = { pause_ms = [30, 20, 10] }\n")  # the last ends first
    files = []
    for jobs in (1, 3):
        watcher = Watcher()
        assert run(swept, path, local(jobs), watcher) == Ran(0, 18, 0)
        files.append(path.read_bytes())
        path.unlink()
        assert {outcome.point.key for outcome in watcher.ended} == {
            point.key for point in swept.points
        }
    assert files[0] == files[1]


def test_the_file_is_in_the_order_of_the_sweep_and_names_no_host(path: Path) -> None:
    swept = sweep(SMALL)
    run(swept, path, local(2), Watcher())
    recorded, results = read_results(path)
    assert [result.point for result in results] == list(swept.points)
    assert [result.measures for result in results] == [measure(point) for point in swept.points]
    assert (recorded.sweep, recorded.command) == (
        SMALL,
        "python -m bench sweep fake.toml -o fake.jsonl",
    )
    assert recorded.environment == {"model": "the model"}  # it is the same everywhere
    assert recorded.points == len(swept.points)


def test_wall_time_names_its_host(path: Path) -> None:
    assert header(sweep('scenarios = "gamma"')).environment["cores"] >= 1


def test_a_finished_point_is_not_run_again(path: Path) -> None:
    swept = sweep(SMALL)
    with pytest.raises(KeyboardInterrupt):
        run(swept, path, local(1), Watcher(patience=2))
    kept = [result.point for result in read_results(path)[1]]
    assert kept == list(swept.points[:2])
    watcher = Watcher()
    assert run(swept, path, local(2), watcher) == Ran(2, 4, 0)
    assert (watcher.begun, watcher.finished) == (list(swept.points[2:]), 2)
    whole = path.read_bytes()
    assert run(swept, path, local(2), Watcher()) == Ran(6, 0, 0)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("fate", "failure"),
    [
        (REFUSED, "the guest went wrong"),
        (WRONG, "KeyError: 'engine'"),
        (KILLED, "its process ended with signal 9"),
    ],
)
def test_a_point_that_fails_is_told_and_not_recorded(path: Path, fate: int, failure: str) -> None:
    swept = sweep(SMALL + f'policies = "nop"\nparameters = {{ fate = [{FINE}, {fate}] }}\n')
    watcher = Watcher()
    assert run(swept, path, local(2), watcher) == Ran(0, 2, 2)
    failed = [outcome for outcome in watcher.ended if outcome.result is None]
    assert {outcome.failure for outcome in failed} == {failure}
    assert {outcome.point.parameters["fate"] for outcome in failed} == {fate}
    fine = [point for point in swept.points if point.parameters["fate"] == FINE]
    assert [result.point for result in read_results(path)[1]] == fine
    watcher = Watcher()
    run(swept, path, local(2), watcher)
    assert [point.parameters["fate"] for point in watcher.begun] == [fate] * 2  # it is tried again


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ("notes to keep\n", "does not hold results of the laboratory"),
        ("notes to keep", "does not hold results of the laboratory"),
        (header(sweep(SMALL)).line().replace('"version":1', '"version":7'), "version 7"),
        (header(sweep(SMALL + "seconds = 2.0\n")).line(), "holds results of another sweep than"),
        (header(sweep('scenarios = "gamma"')).line(), "holds results of another sweep than"),
        (header(sweep(SMALL)).line().replace('"sweep":"', '"sweep":"= '), "of another sweep than"),
        (
            header(sweep(SMALL)).line().replace('"environment":{', '"environment":{"cores":3,'),
            "was begun under other conditions: cores was 3 and is None",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused_and_left_alone(
    path: Path, contents: str, complaint: str
) -> None:
    path.write_text(contents)
    with pytest.raises(LaboratoryError) as refused:
        run(sweep(SMALL), path, local(1), Watcher())
    assert complaint in str(refused.value)
    assert path.read_text() == contents


def test_what_another_model_has_begun_is_refused(path: Path) -> None:
    swept = sweep(SMALL)
    run(swept, path, local(1), Watcher())
    with pytest.raises(LaboratoryError, match="model was 'the model' and is 'changed'"):
        run(replace(swept, model="changed"), path, local(1), Watcher())


def test_points_that_the_sweep_has_not_are_refused(path: Path) -> None:
    """As they are after the default of a parameter has changed."""
    swept = sweep(SMALL)
    run(swept, path, local(1), Watcher())
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"pause_ms":0.0', b'"pause_ms":1.0'))
    with pytest.raises(LaboratoryError, match="begun by another version of this program"):
        run(swept, path, local(1), Watcher())


def test_comments_may_change(path: Path) -> None:
    run(sweep(SMALL), path, local(1), Watcher())
    assert run(sweep("# the same\n" + SMALL), path, local(1), Watcher()) == Ran(6, 0, 0)


def test_two_sweeps_into_one_file_at_once_are_refused(path: Path) -> None:
    swept = sweep(SMALL)
    with opened(path, swept.name, header(swept), swept.points):
        before = path.read_bytes()
        with pytest.raises(LaboratoryError, match="another process is writing"):
            run(swept, path, local(1), Watcher())
        assert path.read_bytes() == before
    assert run(swept, path, local(1), Watcher()) == Ran(0, 6, 0)


@pytest.mark.parametrize("size", [0, 1, 40])
def test_killed_in_the_first_line(path: Path, size: int) -> None:
    swept = sweep(SMALL)
    path.write_text(header(swept).line()[:size])
    assert run(swept, path, local(1), Watcher()) == Ran(0, 6, 0)
    assert len(read_results(path)[1]) == 6


@pytest.mark.parametrize("name", ["/dev/null", ".", "missing/results", "fifo"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(LaboratoryError, match=r"^cannot write "):
        run(sweep(SMALL), tmp_path / name, local(1), Watcher())


def test_a_cost_table_of_the_users_own_is_known_by_its_contents(path: Path) -> None:
    swept = sweep(SMALL.replace("cheap", "mine.toml"))
    run(swept, path, local(1), Watcher())
    there = {"costs mine.toml": "the text of mine.toml", "model": "the model"}
    assert read_results(path)[0].environment == there
    changed = replace(swept, own_costs={"mine.toml": "new"})
    with pytest.raises(LaboratoryError, match=r"costs mine.toml was 'the text of .* is 'new'$"):
        run(changed, path, local(1), Watcher())
