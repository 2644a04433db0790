"""Figures in the tables of a Markdown page, and those of docs/answers.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.laboratory import virtual
from bench.laboratory.costs import COSTS
from bench.laboratory.engines import catalogue
from bench.laboratory.figures import COLUMNS, fill
from bench.laboratory.measures import Measures, encode
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Header, Result, write_results
from bench.laboratory.sweep.definition import load

DOCS = Path(__file__).resolve().parents[2] / "docs"
ANSWERS = DOCS / "answers.md"

PARAMETERS = {"interval_us": 100.0, "host_cores": 2}


def result(policy: str, latency_ns: int, repeat: int = 0, clock: str = "virtual") -> Result:
    costs = "bare-metal" if clock == "virtual" else ""
    point = Point("pingpong", policy, "vcpu", clock, costs, PARAMETERS, 2.0, repeat)
    measures = Measures(
        seconds=2.0,
        wakes=100,
        wake_latency=encode([latency_ns] * 100),
        exits={"EXIT_HLT": 1000, "EXIT_MWAIT": 3000},
        cpu_seconds=0.5,
        write_faults=150,
        neighbour_work=75.0,
        neighbour_alone=100.0,
    )
    return Result(point, measures)


RESULTS = [result("nop", 600), result("fault", 7000), result("halt", 20)]
BEFORE, AFTER = "before\n\n", "\n\nafter\n"


def page(words: str, table: str = "old\n") -> str:
    return f"{BEFORE}<!-- figures: {words} -->\n{table}<!-- end of figures -->{AFTER}"


def rows(words: str, results: list[Result]) -> list[list[str]]:
    filled = fill(page(words), results)
    assert filled.startswith(BEFORE)
    assert filled.endswith(AFTER)
    lines = [line for line in filled.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_table() -> None:
    words = "rows=policy columns=wake_p50,exits,cpu,faults_per_wake,neighbour_loss"
    assert rows(words, RESULTS) == [
        ["policy", "wake p50", "exits/s", "cores busy", "write faults per wake", "neighbour loses"],
        ["---", "--:", "--:", "--:", "--:", "--:"],
        ["nop", "600 ns", "2,000", "0.25", "1.50", "25.0%"],
        ["fault", "7.00 µs", "2,000", "0.25", "1.50", "25.0%"],
        ["halt", "20 ns", "2,000", "0.25", "1.50", "25.0%"],
    ]


def test_what_was_not_measured() -> None:
    assert rows("policy=nop rows=policy columns=task_p50,tasks", RESULTS)[2] == ["nop", "-", "0.0"]


def test_choices_and_parameters() -> None:
    words = "policy=fault,halt host_cores=2 rows=policy,interval_us columns=wake_p99"
    assert rows(words, RESULTS)[2:] == [["fault", "100", "7.00 µs"], ["halt", "100", "20 ns"]]


def test_the_median_of_repeats() -> None:
    repeats = [result("nop", latency, repeat) for repeat, latency in enumerate((100, 200, 250))]
    assert rows("rows=policy columns=wake_p50", repeats)[2:] == [["nop", "200 ns"]]


def test_twice_is_as_once() -> None:
    once = fill(page("rows=policy columns=cpu"), RESULTS)
    assert fill(once, RESULTS) == once


def test_tables_of_another_clock_stay() -> None:
    text = page("clock=wall rows=policy columns=cpu")
    assert fill(text, RESULTS) == text
    assert fill(text, [result("nop", 100, clock="wall")]) != text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("rows=policy columns=speed", "unknown column 'speed' (known: wake_p50, wake_p99"),
        ("policy=none rows=policy columns=cpu", "no result is such a point"),
        ("rows=scenario columns=cpu", "several points are pingpong: say more of them"),
    ],
)
def test_tables_that_cannot_be(words: str, complaint: str) -> None:
    with pytest.raises(LaboratoryError, match=re.escape(complaint)) as caught:
        fill(page(words), RESULTS)
    assert words in str(caught.value)


def test_a_table_without_an_end() -> None:
    with pytest.raises(LaboratoryError, match="does not end"):
        fill("<!-- figures: rows=policy columns=cpu -->\n", RESULTS)


def test_the_command(tmp_path: Path) -> None:
    results, text = tmp_path / "results.jsonl", tmp_path / "page.md"
    write_results(results, Header("", 1, "", {}), RESULTS)
    text.write_text(page("rows=policy columns=cpu"))
    for said in ("new figures", "as it was"):
        done = CliRunner().invoke(cli, ["figures", str(results), str(text)])
        assert (done.exit_code, said in done.stdout) == (0, True)
    before = text.read_text()
    text.write_text(before.replace("columns=cpu", "columns=speed"))
    done = CliRunner().invoke(cli, ["figures", str(results), str(text)])
    assert done.exit_code == 2
    assert "unknown column" in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["page.md", "results.jsonl"]


@pytest.mark.parametrize("name", ["none.md", "."])
def test_a_page_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["figures", "none.jsonl", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "cannot read or write" in done.stderr


def test_the_answers_can_be_made_anew() -> None:
    """Each table of virtual time finds its points in the sweep `answers`, and no point is idle."""
    points = load("answers", catalogue()).points
    nothing = [Result(point, Measures(seconds=1.0)) for point in points]
    assert fill(ANSWERS.read_text(), nothing) != ANSWERS.read_text()


@pytest.mark.parametrize(
    ("scenario", "policy", "given", "columns"),
    [
        ("bimodal", "fault", {"vcpus": 4, "work_units": 20}, "wake_p50,wake_p99,exits,cpu,work"),
        ("bimodal", "nop", {"vcpus": 4, "work_units": 20}, "wake_p50,wake_p99,exits,cpu,work"),
        ("neighbour", "fault", {}, "wake_p50,wake_p99,cpu,neighbour_loss"),
    ],
)
def test_the_answers_are_what_the_model_gives(
    scenario: str, policy: str, given: dict[str, float], columns: str
) -> None:
    """Whoever changes the model or a table of costs makes them anew: `make answers`."""
    (point,) = [
        point
        for point in load("answers", catalogue()).points
        if (point.scenario, point.policy, point.costs) == (scenario, policy, "bare-metal")
        and all(point.parameters[name] == value for name, value in given.items())
    ]
    row = rows(f"rows=policy columns={columns}", [Result(point, virtual.measure(point))])[2]
    assert f"| {' | '.join(row)} |" in ANSWERS.read_text()


def test_every_column_is_explained_by_its_heading() -> None:
    headings = [heading for heading, _, _ in COLUMNS.values()]
    assert len(set(headings)) == len(headings)


def test_the_page_of_costs_lists_them_all() -> None:
    text = (DOCS / "costs.md").read_text()
    for cost in COSTS:
        assert f"| `{cost.name}` | {cost.summary} |" in text
