"""The laboratory's rows as one table: a column for each policy, a block for each phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from bench.lab import Row
from bench.units import count, duration, share

#: A line of the table: what it is called, and what it shows of a row.
_LINES: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("handoffs", lambda row: count(row.handoffs)),
    ("handoffs per second", lambda row: count(row.handoffs_per_second)),
    ("wake latency p50", lambda row: duration(row.wake_latency_p50_ns)),
    ("wake latency p99", lambda row: duration(row.wake_latency_p99_ns)),
    ("instructions per handoff", lambda row: count(row.instructions_per_handoff)),
    ("CPU time of the idle vCPU", lambda row: share(row.idle_cpu_share)),
    ("MWAIT exits", lambda row: count(row.mwait_exits)),
    ("MWAIT sleeps", lambda row: count(row.mwait_sleeps)),
    ("write faults", lambda row: count(row.write_faults)),
    ("false faults", lambda row: count(row.false_faults)),
    ("spurious wakes", lambda row: count(row.spurious_wakes)),
    ("lost wakes", lambda row: count(row.lost_wakes)),
    ("deferred tasks done", lambda row: count(row.tasks_done)),
    ("task latency p50", lambda row: duration(row.task_latency_p50_ns)),
    ("task latency p99", lambda row: duration(row.task_latency_p99_ns)),
)

_LOST = "lost wakes"


def table(rows: Sequence[Row]) -> Table:
    """All rows side by side. A column that Ctrl-C cut short is marked with a star."""
    shown = Table(caption=_caption(rows), caption_justify="left")
    policies = list(dict.fromkeys(row.policy for row in rows))
    shown.add_column("MWAIT is")
    for policy in policies:
        shown.add_column(policy, justify="right")
    for phase in dict.fromkeys(row.phase for row in rows):
        found = {row.policy: row for row in rows if row.phase == phase}
        columns = [found.get(policy) for policy in policies]
        marks = ["*" if row and not row.complete else "" for row in columns]
        shown.add_section()
        shown.add_row(Text(f"handoffs {phase}", style="bold"), *marks)
        for name, cell in _LINES:
            style = (
                "bold red"
                if name == _LOST and any(row and row.lost_wakes for row in columns)
                else None
            )
            shown.add_row(name, *(cell(row) if row else "" for row in columns), style=style)
    return shown


def _caption(rows: Sequence[Row]) -> str | None:
    if all(row.complete for row in rows):
        return None
    return "* stopped by Ctrl-C: what was measured until then"
