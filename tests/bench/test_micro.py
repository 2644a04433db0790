"""Stored runs of the micro-benchmarks: what is a regression, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import micro
from bench.cli import cli
from bench.environment import environment
from bench.micro import Case, Change, Store

WHERE = environment("python -m bench micro")


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["micro", *arguments])


class Measurements:
    """Stands for pytest: each run takes the next times in ns, all of them or those asked for."""

    def __init__(self, *runs: dict[str, float]) -> None:
        self.runs = list(runs)
        self.asked: list[list[str]] = []

    def __call__(self, names: Iterable[str] = ()) -> dict[str, Case]:
        wanted = list(names)
        self.asked.append(wanted)
        times = self.runs.pop(0)
        return {
            name: Case(ns / 1e9, scheduled="wake" in name, peer="unicorn" in name)
            for name, ns in times.items()
            if not wanted or name in wanted
        }


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "runs")]


def measuring(monkeypatch: pytest.MonkeyPatch, *runs: dict[str, float]) -> Measurements:
    measurements = Measurements(*runs)
    monkeypatch.setattr(micro, "measure", measurements)
    return measurements


@pytest.mark.parametrize(
    ("case", "regression"),
    [
        (Case(1.14), False),
        (Case(1.16), True),
        (Case(0.5), False),
        (Case(1.49, scheduled=True), False),
        (Case(1.51, scheduled=True), True),
        (Case(9.0, peer=True), False),
    ],
)
def test_bounds(case: Case, regression: bool) -> None:
    assert Change("", 1.0, case).regression is regression


def test_the_first_run_is_accepted(monkeypatch: pytest.MonkeyPatch, store: list[str]) -> None:
    measuring(monkeypatch, {"a": 10.0})
    done = bench(*store)
    assert done.exit_code == 0
    assert "accepted as it is" in done.output


def test_a_regression_fails_each_time_until_it_is_accepted(
    monkeypatch: pytest.MonkeyPatch, store: list[str]
) -> None:
    slower = {"a": 12.0, "b": 5.0, "wake": 12.0}
    measuring(monkeypatch, {"a": 10.0, "b": 5.0, "wake": 10.0}, *[slower] * 7)
    bench(*store)
    for _ in range(2):  # what was slower once is not what the next run is held against
        done = bench(*store)
        assert done.exit_code == 1
        assert "slower than accepted: a." in done.stderr
    assert bench(*store, "--accept").exit_code == 0
    assert bench(*store).exit_code == 0


def test_noise_is_run_again_and_forgiven(monkeypatch: pytest.MonkeyPatch, store: list[str]) -> None:
    runs = measuring(
        monkeypatch, {"a": 10.0, "b": 5.0}, {"a": 30.0, "b": 5.0}, {"a": 20.0}, {"a": 10.5}
    )
    bench(*store)
    done = bench(*store)
    assert done.exit_code == 0
    assert runs.asked == [[], [], ["a"], ["a"]]
    last = Store(Path(store[1])).runs()[-1]
    assert last.cases["a"].seconds == pytest.approx(10.5e-9)


def test_creeping_is_found(monkeypatch: pytest.MonkeyPatch, store: list[str]) -> None:
    measuring(monkeypatch, {"a": 10.0}, {"a": 11.0}, {"a": 11.2}, *[{"a": 12.0}] * 3)
    assert [bench(*store).exit_code for _ in range(4)] == [0, 0, 0, 1]


def test_new_benchmarks_and_old_ones_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, store: list[str]
) -> None:
    measuring(monkeypatch, {"a": 10.0, "gone": 1.0}, {"a": 10.0, "new": 1e9})
    assert [bench(*store).exit_code for _ in range(2)] == [0, 0]


def test_another_host_has_a_reference_of_its_own(
    monkeypatch: pytest.MonkeyPatch, store: list[str]
) -> None:
    measuring(monkeypatch, {"a": 10.0}, {"a": 100.0})
    bench(*store)
    path = Path(store[1], "0001.json")
    contents = json.loads(path.read_text())
    contents["environment"]["cpu"] = "another"
    path.write_text(json.dumps(contents))
    done = bench(*store)
    assert done.exit_code == 0
    assert "first run on this host" in done.output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "0001.json is damaged: delete it"),
        ("[]", "0001.json is damaged: delete it"),
        ('{"schema": 1}', "0001.json is damaged: delete it"),
        ('{"schema": 99, "benchmark": "micro"}', "holds no run of this version"),
        ('{"schema": 1, "benchmark": "core"}', "holds no run of this version"),
    ],
)
def test_what_is_stored_is_no_run(
    text: str, complaint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measuring(monkeypatch)
    (tmp_path / "0001.json").write_text(text)
    done = bench("--store", str(tmp_path))
    assert done.exit_code == 2
    assert complaint in " ".join(done.stderr.split())
    assert (tmp_path / "0001.json").read_text() == text


def test_nothing_to_accept(tmp_path: Path) -> None:
    done = bench("--accept", "--store", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "holds no run to accept" in done.stderr


def test_ctrl_c_stores_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(names: Iterable[str] = ()) -> dict[str, Case]:
        raise KeyboardInterrupt

    monkeypatch.setattr(micro, "measure", stopped)
    assert bench("--store", str(tmp_path)).exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_numbers_go_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [store.add({"a": Case(1.0)}, WHERE, accepted=False).name for _ in range(3)]
    assert names == ["0001.json", "0002.json", "0003.json"]


def test_a_probe_is_timed_by_what_it_times(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by how long that took, which is thousands of turns and the set-up."""
    # By this a benchmark in a process of its own knows that another one runs beside it.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    name = "bench/test_costs.py::test_probe[turn]"
    case = micro.measure([name])[name]
    assert 0 < case.seconds < 1e-6
    assert not case.scheduled
    assert "1 passed" in capfd.readouterr().out


def test_help_has_an_example() -> None:
    assert "python -m bench micro" in bench("--help").output.split("Example", 1)[1]
