"""The comparison in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.laboratory.report.comparison import NOISY, SHORT, Cell, Comparison, comparison
from bench.laboratory.report.sections import sections
from bench.laboratory.results import Result
from bench.laboratory.statistics import NOISY_SHARE, summarize

#: What a table may need; with the usual numbers it is 100 characters or less.
WIDEST = 120


def tables(results: Iterable[Result]) -> Group:
    """A table for each scenario and clock. Raises LaboratoryError as `summarize` does."""
    shown: list[Text | Table] = []
    noisy = False
    for section in sections(summarize(results)):
        made = comparison(section, SHORT)
        noisy = noisy or made.any_noisy
        shown += [Text(f"\n{section.scenario}, {section.where}", style="bold"), _table(made)]
        if made.note:
            shown.append(Text(made.note, style="dim"))
    if noisy:
        note = f"\n{NOISY} too noisy: the 95 % interval reaches beyond ±{NOISY_SHARE:.0%}"
        shown.append(Text(f"{note}; measure longer, more often, or on a quiet host."))
    return Group(*shown)


def _table(made: Comparison) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for index, head in enumerate(made.heads):
        table.add_column(
            head.replace(" ", "\n"),
            justify="right" if index >= made.keys else "left",
            no_wrap=True,
        )
    for row in made.rows:
        alarm = any(cell.alarm for cell in row)
        table.add_row(*(_text(cell) for cell in row), style="bold red" if alarm else None)
    return table


def _text(cell: Cell) -> str:
    return f"{NOISY}{cell.text}" if cell.noisy else cell.text
