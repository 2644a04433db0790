"""Sections, the comparison's rows, and the table in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from rich.console import Console

from bench.laboratory.measures import Measures, encode
from bench.laboratory.point import Point
from bench.laboratory.report import tables
from bench.laboratory.report.comparison import MOST_ROWS, comparison, exits
from bench.laboratory.report.plots.wake_rate import wake_rate
from bench.laboratory.report.sections import Section, number, sections, slug
from bench.laboratory.results import Result
from bench.laboratory.statistics import summarize


def result(
    policy: str = "fault",
    executor: str = "vcpu",
    parameters: Mapping[str, float] | None = None,
    repeat: int = 0,
    **measured: Any,
) -> Result:
    point = Point("pingpong", policy, executor, "wall", "", parameters or {}, 1.0, repeat)
    return Result(point, Measures(1.0, **{"wakes": 10, **measured}))


def section(results: Iterable[Result]) -> Section:
    (only,) = sections(summarize(results))
    return only


def texts(found: Section) -> list[list[str]]:
    return [[cell.text for cell in row] for row in comparison(found).rows]


def printed(results: list[Result]) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(tables(results))
    return captured.get()


def test_wall_time_comes_first_and_each_clock_apart() -> None:
    clocks = [("virtual", "nested"), ("wall", ""), ("virtual", "bare-metal")]
    points = [Point("idle", "nop", "vcpu", clock, costs) for clock, costs in clocks]
    found = sections(summarize(Result(point, Measures(1.0)) for point in points))
    assert [one.where for one in found] == [
        "wall time",
        "virtual time, bare-metal costs",
        "virtual time, nested costs",
    ]


def test_rows_are_by_policy_then_executor_then_parameter() -> None:
    found = section(
        result(policy, executor, {"interval_us": interval})
        for interval, executor, policy in product((20, 3), ("workers", "vcpu"), ("fault", "nop"))
    )
    assert [row[:3] for row in texts(found)] == [
        ["nop", "vcpu", "3"],
        ["nop", "vcpu", "20"],
        ["nop", "workers", "3"],
        ["nop", "workers", "20"],
        ["fault", "vcpu", "3"],
        ["fault", "vcpu", "20"],
        ["fault", "workers", "3"],
        ["fault", "workers", "20"],
    ]
    assert comparison(found).keys == 3


def test_columns_without_a_value_are_left_out() -> None:
    assert comparison(section([result(), result("nop")])).heads == [
        "policy",
        "wakes/s",
        "lost wakes",
    ]


def test_of_many_rows_those_at_the_reference_are_shown() -> None:
    swept = [result(parameters={"interval_us": value}) for value in range(MOST_ROWS)]
    usual = [result(name, parameters={"interval_us": 7}) for name in ("nop", "exit", "timer")]
    made = comparison(section(swept + usual))
    assert [row[0].text for row in made.rows] == ["nop", "exit", "timer", "fault"]
    assert made.note == f"At interval_us = 7; {MOST_ROWS - 1} more are in results.csv."


def test_exits_by_reason() -> None:
    point = Point("pingpong", "exit", "vcpu", "wall", "")
    measures = Measures(2.0, exits={"EXIT_MWAIT": 10, "EXIT_IO": 3})
    made = exits(section([Result(point, measures)]))
    assert made.heads == ["policy", "MWAIT", "IO"]
    assert [[cell.text for cell in row] for row in made.rows] == [["exit", "5.0", "1.5"]]


def test_the_terminal_marks_noise_and_says_what_it_is() -> None:
    quiet = [result("nop", repeat=number, guest_work=work) for number, work in enumerate((99, 100))]
    wild = [
        result("fault", repeat=number, guest_work=work) for number, work in enumerate((10, 900))
    ]
    text = printed(quiet)
    assert "99.5" in text
    assert "~" not in text
    text = printed(quiet + wild)
    assert "~455" in text
    assert "~ too noisy: the 95 % interval reaches beyond ±20%" in " ".join(text.split())


def test_the_terminal_shows_all_columns_within_its_width() -> None:
    every = [
        Result(
            Point("pingpong", policy, executor, "wall", "", {"interval_us": 1e6}),
            Measures(
                1.0,
                guest_work=987_654_321,
                wakes=999_999,
                lost_wakes=9,
                wake_latency=encode([999_000]),
                task_latency=encode([999_000]),
                exits={"EXIT_MWAIT": 999_999},
                false_faults=999_999,
                cpu_seconds=1.0,
                neighbour_work=1.0,
                neighbour_alone=3.0,
            ),
        )
        for policy, executor in product(("passthrough", "hlt-passthrough"), ("vcpu", "workers"))
    ]
    text = printed(every)
    for figure in ("988 M", "999,999", "66.7%", "hlt-passthrough", "workers"):
        assert figure in text
    assert "…" not in text


def test_only_a_parameter_that_wakes_follow_is_a_pace() -> None:
    paced = [result(parameters={"interval_us": 1e6 / n}, wakes=n) for n in (10, 100, 1000)]
    assert [plot.title for plot in wake_rate(section(paced))] == []  # no CPU, no exits, no latency
    busy = [
        Result(one.point, Measures(1.0, wakes=one.measures.wakes, cpu_seconds=0.5)) for one in paced
    ]
    assert [plot.title for plot in wake_rate(section(busy))] == ["Host CPU against wake rate"]
    still = [result(parameters={"work_units": n}, wakes=100 + n) for n in (1, 2, 3)]
    assert wake_rate(section(still)) == []
    of_host = [result(parameters={"host_cores": n}, wakes=n) for n in (10, 100, 1000)]
    assert wake_rate(section(of_host)) == []


def test_names() -> None:
    assert slug("false-sharing", "virtual", "some/where/My Table.toml") == (
        "false-sharing-virtual-my-table-toml"
    )
    assert (number(1e6), number(0.25), number(3)) == ("1,000,000", "0.25", "3")
