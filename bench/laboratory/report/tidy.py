"""The data as a table: a row for each point, a unit in the name of each column that has one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.laboratory.statistics import FIGURES, PERCENTILES, Latencies, Repeat, Summary

#: What a cell may hold; None where nothing was measured.
Value = str | int | float | None

#: Names of FIGURES that lack their unit.
_UNITS: Final = {"neighbour_loss": "neighbour_loss_share"}

_LATENCIES: Final[Mapping[str, Callable[[Repeat], Latencies | None]]] = {
    "wake_latency": lambda one: one.wake_latency,
    "task_latency": lambda one: one.task_latency,
}


def columns(summaries: Iterable[Summary]) -> dict[str, list[Value]]:
    """The table by column; all columns are equally long."""
    repeats = [repeat for summary in summaries for repeat in summary.repeats]
    rows = [_row(repeat) for repeat in repeats]
    names = dict.fromkeys(name for row in rows for name in row)
    order = sorted(names, key=_place)
    return {name: [row.get(name) for row in rows] for name in order}


def _place(name: str) -> int:
    """Parameters differ between scenarios, exits between policies: each kind stands together."""
    starts = ("parameter_", "exits_by_reason_")
    return next((place for place, start in enumerate(starts, 1) if name.startswith(start)), 0)


def _row(repeat: Repeat) -> dict[str, Value]:
    point, measures = repeat.point, repeat.measures
    row: dict[str, Value] = {
        "scenario": point.scenario,
        "policy": point.policy,
        "executor": point.executor,
        "clock": point.clock,
        "costs": point.costs,
        "repeat": point.repeat,
        "asked_seconds": float(point.seconds),
        "seconds": float(measures.seconds),
        "guest_work": measures.guest_work,
        "wakes": measures.wakes,
        "lost_wakes": measures.lost_wakes,
        "spurious_wakes": measures.spurious_wakes,
        "instructions": measures.instructions,
        "tasks_done": measures.tasks_done,
        "sleeps": measures.sleeps,
        "write_faults": measures.write_faults,
        "false_faults": measures.false_faults,
        "cpu_seconds": float(measures.cpu_seconds),
    }
    for name, figure in FIGURES.items():
        value = figure(measures)
        row[_UNITS.get(name, name)] = None if value is None else float(value)
    for name, of in _LATENCIES.items():
        row |= _latencies(name, of(repeat))
    for name, number in point.parameters.items():
        row[f"parameter_{name}"] = float(number)
    for reason, count in measures.exits.items():
        row[f"exits_by_reason_{reason}_per_second"] = count / measures.seconds
    return row


def _latencies(name: str, latencies: Latencies | None) -> dict[str, Value]:
    row: dict[str, Value] = {f"{name}_count": latencies.count if latencies else 0}
    for percentile in PERCENTILES:
        value = latencies.percentile(percentile) if latencies else None
        row[f"{name}_p{percentile:g}_ns".replace(".", "_")] = value
    row[f"{name}_max_ns"] = latencies.longest if latencies else None
    return row


def write_csv(path: Path, table: Mapping[str, Sequence[Value]]) -> None:
    """With a line of names; an empty field where nothing was measured. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def write_parquet(path: Path, table: Mapping[str, Sequence[Value]]) -> None:
    """Whole numbers as int64, others as float64, null where there is nothing. Raises OSError."""
    import pyarrow as arrow
    from pyarrow import parquet

    arrays = {}
    for name, values in table.items():
        kinds = {type(value) for value in values if value is not None}
        kind = arrow.string() if str in kinds else arrow.int64()
        arrays[name] = arrow.array(values, arrow.float64() if float in kinds else kind)
    parquet.write_table(arrow.table(arrays), path)
