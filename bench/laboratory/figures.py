"""The figures of a sweep in the tables of a Markdown page.

A table stands between two comments, and the first one says what it shows:

    <!-- figures: scenario=bimodal costs=nested rows=policy columns=wake_p50,cpu -->
    ...
    <!-- end of figures -->

`rows` names what the rows differ in, `columns` what is shown of each, and every other word what all
of them have in common. Both sorts of names are a point's: scenario, policy, executor, clock, costs,
or a parameter; a value may be several with commas between them, and for what is not said there must
be one value only. Rows are in the order of the results; of repeats there is the median.

A table is of virtual time unless it says `clock=wall`. One of a clock that no result has stays as
it is, so that each clock's tables can be made anew by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Final

from bench.laboratory.measures import Measures, histogram
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.results import Result
from bench.units import NOTHING, duration, rounded, share

_TABLE: Final = re.compile(
    r"<!-- figures: (?P<words>[^>]*?) -->\n(?P<table>.*?)<!-- end of figures -->", re.DOTALL
)

#: A figure of one run; None where there was nothing to measure.
_Figure = Callable[[Measures], float | None]


def _latency(percentile: float, *, of_tasks: bool = False) -> _Figure:
    def figure(measures: Measures) -> float | None:
        text = measures.task_latency if of_tasks else measures.wake_latency
        return float(histogram(text).get_value_at_percentile(percentile)) if text else None

    return figure


def _per_wake(count: Callable[[Measures], int]) -> _Figure:
    return lambda measures: count(measures) / measures.wakes if measures.wakes else None


def _plain(value: float) -> str:
    return f"{value:.2f}"


#: What a column may show: its heading, the figure, and how it is written.
COLUMNS: Final[Mapping[str, tuple[str, _Figure, Callable[[float], str]]]] = {
    "wake_p50": ("wake p50", _latency(50), duration),
    "wake_p99": ("wake p99", _latency(99), duration),
    "task_p50": ("task p50", _latency(50, of_tasks=True), duration),
    "task_p99": ("task p99", _latency(99, of_tasks=True), duration),
    "exits": ("exits/s", lambda run: sum(run.exits.values()) / run.seconds, rounded),
    "cpu": ("cores busy", lambda run: run.cpu_seconds / run.seconds, _plain),
    "work": ("guest work/s", lambda run: run.guest_work / run.seconds, rounded),
    "wakes": ("wakes/s", lambda run: run.wakes / run.seconds, rounded),
    "lost": ("lost wakes", lambda run: float(run.lost_wakes), rounded),
    "faults_per_wake": ("write faults per wake", _per_wake(lambda run: run.write_faults), _plain),
    "tasks": ("tasks/s", lambda run: run.tasks_done / run.seconds, rounded),
    "neighbour_loss": ("neighbour loses", lambda run: run.neighbour_loss, share),
}


def fill(page: str, results: Sequence[Result]) -> str:
    """The page with the tables of the clocks that there are results of.

    Raises LaboratoryError for a table that says what is not there, or not enough.
    """
    clocks = {result.point.clock for result in results}

    def table(found: re.Match[str]) -> str:
        words = found["words"]
        if ("wall" if "clock=wall" in words.split() else "virtual") not in clocks:
            return found[0]
        try:
            lines = "\n".join(_lines(words, results))
        except LaboratoryError as error:
            raise LaboratoryError(f"table {words!r}: {error}") from None
        return f"<!-- figures: {words} -->\n\n{lines}\n\n<!-- end of figures -->"

    filled, count = _TABLE.subn(table, page)
    if count != page.count("<!-- figures:"):
        raise LaboratoryError("a table does not end in <!-- end of figures -->")
    return filled


def _lines(words: str, results: Sequence[Result]) -> list[str]:
    wanted = dict(word.partition("=")[::2] for word in words.split())
    rows, columns = (wanted.pop(key, "").split(",") for key in ("rows", "columns"))
    for column in columns:
        if column not in COLUMNS:
            raise LaboratoryError(f"unknown column {column!r} (known: {', '.join(COLUMNS)})")
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        facts = _facts(result)
        if all(facts.get(name) in values.split(",") for name, values in wanted.items()):
            groups.setdefault(tuple(facts.get(name, NOTHING) for name in rows), []).append(result)
    if not groups:
        raise LaboratoryError("no result is such a point")
    for key, group in groups.items():
        if len({result.point.group for result in group}) > 1:
            raise LaboratoryError(f"several points are {', '.join(key)}: say more of them")
    headings = [*(name.replace("_", " ") for name in rows), *(COLUMNS[name][0] for name in columns)]
    return [
        _line(headings),
        _line(["---"] * len(rows) + ["--:"] * len(columns)),
        *(
            _line([*key, *(_cell(column, group) for column in columns)])
            for key, group in groups.items()
        ),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _facts(result: Result) -> dict[str, str]:
    point = result.point
    names = ("scenario", "policy", "executor", "clock", "costs")
    facts = {name: str(getattr(point, name)) for name in names}
    return facts | {name: f"{value:.10g}" for name, value in point.parameters.items()}


def _cell(column: str, group: Sequence[Result]) -> str:
    _, figure, written = COLUMNS[column]
    values = [figure(result.measures) for result in group]
    measured = [value for value in values if value is not None]
    return written(median(measured)) if measured else NOTHING
