"""CSV and Parquet: a row for each point, and both the same."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from bench.laboratory.measures import histogram
from bench.laboratory.report import write_report
from tests.laboratory.plausible import HEADER, results

#: One process writes the report, not two.
pytestmark = pytest.mark.xdist_group("report")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_parquet_agree(report: Path) -> None:
    table = parquet.read_table(report / "results.parquet").to_pydict()
    lines = rows(report)
    assert list(table) == list(lines[0])
    for name, column in table.items():
        for value, line in zip(column, lines, strict=True):
            text = line[name]
            if value is None:
                assert text == ""
            else:
                assert type(value)(text) == value


def test_a_row_for_each_point_with_its_figures(report: Path) -> None:
    lines = rows(report)
    found = {
        (line["scenario"], line["policy"], line["executor"], line["clock"], line["repeat"]): line
        for line in lines
        if line["scenario"] == "neighbour"
    }
    written = results(repeats=2)
    assert len(lines) == len(written)
    neighbours = [one for one in written if one.point.scenario == "neighbour"]
    assert len(found) == len(neighbours)
    for one in neighbours:
        point, measures = one.point, one.measures
        line = found["neighbour", point.policy, point.executor, point.clock, str(point.repeat)]
        assert float(line["cpu_cores"]) == measures.cpu_seconds / measures.seconds
        assert int(line["wakes"]) == measures.wakes
        assert float(line["neighbour_loss_share"]) == measures.neighbour_loss
        assert int(line["wake_latency_p99_ns"]) == histogram(
            measures.wake_latency
        ).get_value_at_percentile(99)
        assert line["task_latency_p50_ns"] == ""


def test_names_have_units(report: Path) -> None:
    names = set(rows(report)[0])
    assert {
        "seconds",
        "wakes_per_second",
        "wake_latency_p99_9_ns",
        "wake_latency_max_ns",
        "cpu_seconds",
        "parameter_interval_us",
        "exits_by_reason_EXIT_MWAIT_per_second",
    } <= names


def test_equal_results_are_equal_reports(report: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    some = [one for one in results(repeats=1) if one.point.scenario == "deferred-light"]
    write_report(again, HEADER, some)
    first = {path.name: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    write_report(again, HEADER, some)
    second = {path.name: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    assert first == second
    assert len(first) > 4


@pytest.mark.parametrize("name", ["wake_latency_p50_ns", "cpu_cores", "parameter_interval_us"])
def test_kinds_of_columns(report: Path, name: str) -> None:
    column = parquet.read_table(report / "results.parquet").column(name)
    kind = np.dtype(column.type.to_pandas_dtype())
    assert kind == (np.int64 if name.endswith("_ns") else np.float64)
