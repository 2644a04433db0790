"""The report of a laboratory's results: a page, plots, tables and data."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.report import folder
from bench.laboratory.report.page import draw, page
from bench.laboratory.report.sections import sections
from bench.laboratory.report.terminal import WIDEST, tables
from bench.laboratory.report.tidy import columns, write_csv, write_parquet
from bench.laboratory.results import Header, Result
from bench.laboratory.scenarios import SCENARIOS
from bench.laboratory.statistics import summarize

#: Packages of the extra `laboratory` that a report needs, by the names to import.
_NEEDED: Final = ("jinja2", "matplotlib", "pyarrow")


def require(path: Path) -> None:
    """Find out before a long run whether a report can be written to `path` after it.

    Raises LaboratoryError when a package is missing or the folder cannot be used.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise LaboratoryError(
            f"the report needs {', '.join(missing)}: pip install 'x86core[laboratory]'"
        )
    folder.check(path)


def write_report(path: Path, header: Header, results: Sequence[Result]) -> int:
    """Write the folder `path`, in place of a report that may be there; how many plots it has.

    index.html has all in itself; plots/*.svg are the same plots, results.csv and results.parquet
    the data with a row for each point. Raises LaboratoryError when there are no results, one is
    damaged, a package is missing or the folder holds something else, and OSError; nothing has
    changed then.
    """
    if not results:
        raise LaboratoryError("there are no results to report: resume the sweep")
    require(path)
    summaries = summarize(results)
    shown = sections(summaries)
    plots, missing = draw(shown)
    questions = {name: scenario.question for name, scenario in SCENARIOS.items()}
    text = page(header, shown, plots, missing, questions)
    table = columns(summaries)
    drawn = [plot for found in plots.values() for plot in found]

    def fill(new: Path) -> None:
        (new / folder.PAGE).write_text(text, encoding="utf-8")
        (new / folder.PLOTS).mkdir()
        for plot in drawn:
            (new / folder.PLOTS / f"{plot.name}.svg").write_text(plot.file, encoding="utf-8")
        write_csv(new / folder.CSV, table)
        write_parquet(new / folder.PARQUET, table)

    folder.put(path, fill)
    return len(drawn)


__all__ = ["WIDEST", "require", "tables", "write_report"]
