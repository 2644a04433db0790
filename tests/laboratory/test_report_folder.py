"""`python -m bench report`: bad input says what is wrong, and nothing is overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.laboratory import report as report_module
from bench.laboratory.report import write_report
from bench.laboratory.results import Result as LaboratoryResult
from bench.laboratory.results import write_results
from tests.laboratory.plausible import HEADER, results

IDLE = [one for one in results(repeats=1) if one.point.scenario == "idle"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    write_results(path, HEADER, IDLE)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaint(result: Result) -> str:
    assert isinstance(result.exception, SystemExit)  # no exception of another kind has got out
    assert result.exit_code == 2
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def test_says_where_the_report_lies(file: Path, tmp_path: Path) -> None:
    result = run(file, "-o", tmp_path / "a" / "b")
    assert result.exit_code == 0, result.output
    assert "index.html: 9 points, 0 plots" in "".join(result.stdout.split("\n"))
    assert sorted(entry.name for entry in (tmp_path / "a" / "b").iterdir()) == [
        "index.html",
        "plots",
        "results.csv",
        "results.parquet",
    ]


def test_a_table_without_a_folder(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 0, result.output
    assert "idle, wall time" in result.stdout
    assert "passthrough" in result.stdout


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _other_version(file: Path) -> None:
    file.write_text(file.read_text().replace('"version":1', '"version":99', 1))


def _other_kind(file: Path) -> None:
    file.write_text("name,age\n")


def _damaged_line(file: Path) -> None:
    file.write_text(file.read_text().replace('"policy"', '"police"', 1))


def _no_results(file: Path) -> None:
    write_results(file, HEADER, [])


def _damaged_histogram(file: Path) -> None:
    first = IDLE[0]
    broken = replace(first.measures, wake_latency="HISTFAAAAbroken")
    write_results(file, HEADER, [LaboratoryResult(first.point, broken)])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (Path.unlink, "cannot read"),
        (_cut, "is cut short after 8 results"),
        (_other_version, "results of version 99"),
        (_other_kind, "does not hold results"),
        (_damaged_line, "line 2 is no result"),
        (_no_results, "there are no results to report"),
        (_damaged_histogram, "a latency histogram of idle with nop is damaged"),
    ],
)
def test_bad_results(
    file: Path, tmp_path: Path, damage: Callable[[Path], None], expected: str
) -> None:
    write_report(tmp_path / "out", HEADER, IDLE)
    before = contents(tmp_path / "out")
    damage(file)
    assert expected in complaint(run(file, "-o", tmp_path / "out"))
    assert contents(tmp_path / "out") == before


def test_a_sweep_that_is_not_finished_says_so(file: Path, tmp_path: Path) -> None:
    """Cut at the end of a line, it looks whole."""
    write_results(file, replace(HEADER, points=len(IDLE)), IDLE[:-1])
    expected = f"not finished: {len(IDLE) - 1} of {len(IDLE)} points"
    assert expected in run(file).stderr
    assert expected in run(file, "-o", tmp_path / "out").stderr
    assert expected in (tmp_path / "out" / "index.html").read_text()
    write_results(file, replace(HEADER, points=len(IDLE)), IDLE)
    assert "not finished" not in run(file, "-o", tmp_path / "out").stderr
    assert "not finished" not in (tmp_path / "out" / "index.html").read_text()


def _something_else(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")


def _another_page(out: Path) -> None:
    out.mkdir()
    (out / "index.html").write_text("<title>My garden</title>")


def _beside_a_report(out: Path) -> None:
    write_report(out, HEADER, IDLE)
    (out / "notes.txt").write_text("kept")


def _among_plots(out: Path) -> None:
    write_report(out, HEADER, IDLE)
    (out / "plots" / "mine.png").write_text("kept")


def _file(out: Path) -> None:
    out.write_text("kept")


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (_something_else, "holds thesis.txt, which is no part of a report"),
        (_another_page, "holds index.html, which is no part of a report"),
        (_beside_a_report, "holds notes.txt"),
        (_among_plots, "holds plots/mine.png"),
        (_file, "is not a folder"),
    ],
)
def test_what_is_no_report_is_left_alone(
    file: Path, tmp_path: Path, prepare: Callable[[Path], None], expected: str
) -> None:
    prepare(tmp_path / "out")
    before = contents(tmp_path)
    assert expected in complaint(run(file, "-o", tmp_path / "out"))
    assert contents(tmp_path) == before


def test_the_current_folder(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "the folder that this runs in" in complaint(run(file, "-o", "."))


def test_below_a_file(file: Path) -> None:
    assert "cannot write into the folder" in complaint(run(file, "-o", file / "report"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written(file: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot write into" in complaint(run(file, "-o", tmp_path / "closed" / "out"))


def test_a_report_is_replaced_whole(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    some = [one for one in results(repeats=1) if one.point.scenario == "neighbour"]
    write_report(out, HEADER, some)
    assert any((out / "plots").iterdir())
    assert run(file, "-o", out).exit_code == 0
    assert not any((out / "plots").iterdir())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "results.jsonl"]


def test_an_empty_folder_is_used(file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run(file, "-o", tmp_path / "out").exit_code == 0


def test_a_link_to_a_report_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    assert run(file, "-o", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "index.html").is_file()


def test_a_full_disk_leaves_the_former_report(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_report(out, HEADER, IDLE[:3])
    before = contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report_module, "write_parquet", full)
    result = run(file, "-o", out)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert contents(tmp_path) == before


def test_packages_that_are_missing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "find_spec", lambda name: None if name == "pyarrow" else 1)
    text = complaint(run(file, "-o", tmp_path / "out"))
    assert "the report needs pyarrow: pip install 'x86core[laboratory]'" in text
    assert not (tmp_path / "out").exists()


def test_help_has_an_example() -> None:
    text = run("--help").stdout
    assert "python -m bench report results.jsonl -o report" in text
