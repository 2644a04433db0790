"""The result for a reader and for a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.model.spin import Line, Outcome


def never_executed(outcomes: Sequence[Outcome]) -> list[Line]:
    """Statements of the design that no check of it has executed: what they say is not proved."""
    design = [outcome for outcome in outcomes if not outcome.check.rule]
    lines = {line for outcome in design for line in outcome.statements - outcome.executed}
    executed = {line for outcome in design for line in outcome.executed}
    return sorted(lines - executed, key=lambda line: (line.file, line.number))


def as_data(outcomes: Sequence[Outcome], unexecuted: Sequence[Line]) -> dict[str, object]:
    """The same as plain data for JSON."""
    return {
        "checks": [
            {
                "name": outcome.check.name,
                "about": outcome.check.about,
                "rule": outcome.check.rule,
                "budget": asdict(outcome.check.budget),
                "states": outcome.states,
                "transitions": outcome.transitions,
                "depth": outcome.depth,
                "megabytes": outcome.megabytes,
                "seconds": round(outcome.seconds, 2),
                "violated": outcome.violated,
                "expected": outcome.check.loses,
                "complete": outcome.complete,
                "verdict": outcome.verdict,
            }
            for outcome in outcomes
        ],
        "never_executed": [f"{line.file}:{line.number}" for line in unexecuted],
    }


def print_report(console: Console, outcomes: Sequence[Outcome], unexecuted: Sequence[Line]) -> None:
    """A row for each check, then what they come to."""
    design = [outcome for outcome in outcomes if not outcome.check.rule]
    variants = [outcome for outcome in outcomes if outcome.check.rule]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("states", "transitions", "depth", "MB", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("finds", no_wrap=True)
    table.add_column("")
    for title, rows in (("the design", design), ("without one rule", variants)):
        if rows:
            table.add_section()
            table.add_row(f"[bold]{title}")
        for outcome in rows:
            table.add_row(*_cells(outcome))
    console.print(table)
    for outcome in outcomes:
        if outcome.verdict != "ok":
            console.print(f"{outcome.check.name}: {outcome.verdict}", style="red")
    for line in unexecuted:
        where = f"{line.file}:{line.number} {line.text.strip()}"
        console.print(f"never executed: {where}", style="red", markup=False)
    console.print(
        f"the design: {sum(outcome.states for outcome in design):,} states, "
        f"{sum(outcome.verdict != 'ok' for outcome in design)} errors; "
        f"variants: {sum(outcome.verdict == 'ok' for outcome in variants)} of {len(variants)} fail",
        highlight=False,
    )


def _cells(outcome: Outcome) -> tuple[str, ...]:
    ok = outcome.verdict == "ok"
    return (
        outcome.check.name,
        f"{outcome.states:,}",
        f"{outcome.transitions:,}",
        f"{outcome.depth:,}",
        f"{outcome.megabytes:,.0f}",
        f"{outcome.seconds:.1f}",
        outcome.violated or "nothing",
        "[green]ok" if ok else "[red]wrong",
    )
