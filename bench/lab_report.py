"""The laboratory's rows: a table for each phase, with a line for each policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.lab import BACK_TO_BACK, PACED, QUIET, Row
from bench.units import duration, rounded, share

#: What a column shows of a row, by its head.
_COLUMNS: dict[str, Callable[[Row], str]] = {
    "handoffs": lambda row: rounded(row.handoffs),
    "per second": lambda row: rounded(row.handoffs_per_second),
    "wake p50": lambda row: duration(row.wake_latency_p50_ns),
    "wake p99": lambda row: duration(row.wake_latency_p99_ns),
    "idle CPU": lambda row: share(row.idle_cpu_share),
    "instructions/s": lambda row: rounded(row.instructions / row.seconds),
    "MWAIT exits": lambda row: rounded(row.mwait_exits),
    "MWAIT sleeps": lambda row: rounded(row.mwait_sleeps),
    "false faults": lambda row: rounded(row.false_faults),
    "spurious wakes": lambda row: rounded(row.spurious_wakes),
    "lost wakes": lambda row: rounded(row.lost_wakes),
    "task p50": lambda row: duration(row.task_latency_p50_ns),
}

#: Characters that a table may need in the worst case; with the usual numbers it is 80 or less.
WIDEST = 90

#: The columns of each phase's table. With more of them it would be wider than a terminal.
_SHOWN = {
    BACK_TO_BACK: (
        *("handoffs", "per second", "wake p50", "wake p99"),
        *("idle CPU", "MWAIT sleeps", "false faults", "lost wakes"),
    ),
    PACED: (
        *("handoffs", "wake p50", "wake p99", "idle CPU"),
        *("MWAIT exits", "spurious wakes", "lost wakes", "task p50"),
    ),
    QUIET: (
        *("idle CPU", "instructions/s", "MWAIT exits", "MWAIT sleeps"),
        *("spurious wakes", "lost wakes"),
    ),
}


def tables(rows: Sequence[Row]) -> Group:
    """All rows. What Ctrl-C cut short is marked with a star."""
    shown: list[Table | Text] = []
    for phase, heads in _SHOWN.items():
        if of_phase := [row for row in rows if row.phase == phase.name]:
            shown += [Text(f"\n{phase.name.capitalize()}", style="bold"), _table(of_phase, heads)]
    if not all(row.complete for row in rows):
        shown.append(Text("\n* stopped by Ctrl-C: what was measured until then"))
    return Group(*shown)


def _table(rows: Sequence[Row], heads: Sequence[str]) -> Table:
    shown = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    shown.add_column("MWAIT is", no_wrap=True)
    for head in heads:
        shown.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            row.policy if row.complete else f"{row.policy}*",
            *(_COLUMNS[head](row) for head in heads),
            style="bold red" if row.lost_wakes else None,
        )
    return shown
