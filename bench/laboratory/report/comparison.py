"""The comparison as rows of text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.laboratory.report.sections import Section, number, parameters
from bench.laboratory.statistics import DECIDING, Summary
from bench.units import NOTHING, duration, rounded

#: With more rows than this only those at the reference stand in a table; results.csv has all.
MOST_ROWS: Final = 45

#: What marks a figure that is too noisy, and lost wakes.
NOISY: Final = "~"


@dataclass(frozen=True, slots=True)
class Cell:
    """`spread` is the reach of the interval, "" where there is none; `alarm`: wakes were lost."""

    text: str
    spread: str = ""
    noisy: bool = False
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table. The first `keys` columns say which point a row is, the others are figures."""

    heads: Sequence[str]
    keys: int
    rows: Sequence[Sequence[Cell]]
    note: str

    @property
    def any_noisy(self) -> bool:
        """Whether any figure is too noisy."""
        return any(cell.noisy for row in self.rows for cell in row)


def _share(value: float) -> str:
    return f"{value:.1%}"


def _cores(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _spread(part: float) -> str:
    """How far an interval reaches; where it has no end, so many digits would say nothing."""
    if part > 1:
        return "±>100%"
    return f"±{part:.0%}" if part >= 0.01 else f"±{part:.1%}"


def _figure(name: str, text: Callable[[float], str]) -> Callable[[Summary], Cell | None]:
    """A figure with its interval; nothing where it was not measured or is zero all along."""

    def cell(one: Summary) -> Cell | None:
        found = one.figures.get(name)
        if found is None:
            return None
        spread = ""
        if (
            found.half_width is not None
            and found.mean
            and found.half_width / abs(found.mean) > 5e-4
        ):
            spread = _spread(abs(found.half_width / found.mean))
        return Cell(text(found.mean), spread, name in DECIDING and found.noisy(DECIDING[name]))

    return cell


def _percentile(kind: str, percentile: float) -> Callable[[Summary], Cell | None]:
    def cell(one: Summary) -> Cell | None:
        latencies = one.wake_latency if kind == "wake" else one.task_latency
        if latencies is None:
            return None
        if percentile == 100:
            return Cell(duration(latencies.longest))
        return Cell(duration(latencies.percentile(percentile)))

    return cell


def _lost(one: Summary) -> Cell | None:
    return Cell(rounded(one.lost_wakes), alarm=one.lost_wakes > 0)


#: The figures of a row by their heads; a column without any value other than zero is left out.
_COLUMNS: Final[dict[str, Callable[[Summary], Cell | None]]] = {
    "wake p50": _figure("wake_latency", duration),
    "wake p90": _percentile("wake", 90.0),
    "wake p99": _percentile("wake", 99.0),
    "wake p99.9": _percentile("wake", 99.9),
    "wake max": _percentile("wake", 100.0),
    "CPU cores": _figure("cpu_cores", _cores),
    "work/s": _figure("guest_work_per_second", rounded),
    "wakes/s": _figure("wakes_per_second", rounded),
    "lost wakes": _lost,
    "spurious/s": _figure("spurious_wakes_per_second", rounded),
    "exits/s": _figure("exits_per_second", rounded),
    "sleeps/s": _figure("sleeps_per_second", rounded),
    "write faults/s": _figure("write_faults_per_second", rounded),
    "false faults/s": _figure("false_faults_per_second", rounded),
    "tasks/s": _figure("tasks_per_second", rounded),
    "task p50": _figure("task_latency", duration),
    "task p99": _percentile("task", 99.0),
    "task max": _percentile("task", 100.0),
    "neighbour loses": _figure("neighbour_loss", _share),
}

#: Those that fit into a terminal.
SHORT: Final = (
    *("wake p50", "wake p99", "CPU cores", "work/s", "wakes/s", "lost wakes", "exits/s"),
    *("false faults/s", "task p50", "neighbour loses"),
)

_ZERO: Final = {"0", "0.0", "0.000", "0.0%", NOTHING}


def comparison(section: Section, columns: Sequence[str] = tuple(_COLUMNS)) -> Comparison:
    """The table of a section: a row for each policy, executor and combination of parameters."""
    shown = section.in_order(section.summaries)
    varied, note = list(section.swept), ""
    if len(shown) > MOST_ROWS:
        shown = section.at_reference()
        note = f"At {section.at()}; {len(section.summaries) - len(shown)} more are in results.csv."
        varied = []
    executors = len(section.executors) > 1
    keys = ["policy", *(["executor"] if executors else []), *varied]
    cells = {head: [_COLUMNS[head](one) or Cell(NOTHING) for one in shown] for head in columns}
    kept = {
        head: column
        for head, column in cells.items()
        if head == "lost wakes" or any(cell.text not in _ZERO for cell in column)
    }
    rows = []
    for index, one in enumerate(shown):
        values = parameters(one.point)
        names = [one.point.policy, *([one.point.executor] if executors else [])]
        places = [number(values[name]) if name in values else NOTHING for name in varied]
        key = [Cell(text) for text in [*names, *places]]
        rows.append([*key, *(column[index] for column in kept.values())])
    return Comparison([*keys, *kept], len(keys), rows, note)


def exits(section: Section) -> Comparison:
    """Exits per second by reason, at the reference; without rows when there were none."""
    shown = section.at_reference()
    reasons = list(dict.fromkeys(reason for one in shown for reason in one.exits))
    executors = len(section.executors) > 1
    rows = [
        [
            Cell(one.point.policy),
            *([Cell(one.point.executor)] if executors else []),
            *(Cell(rounded(one.exits.get(reason, 0.0))) for reason in reasons),
        ]
        for one in shown
        if one.exits
    ]
    keys = ["policy", *(["executor"] if executors else [])]
    heads = [*keys, *(reason.removeprefix("EXIT_") for reason in reasons)]
    return Comparison(heads, len(keys), rows, f"At {section.at()}." if section.at() else "")
