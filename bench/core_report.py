"""The core's rows as tables, and as what goes into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.core import ExitRow, LoopRow, ParallelRow, Row, mean_ratio
from bench.units import NOTHING, count

_EXITS = (
    "VCPU.run() is called on a loop of MWAIT that exits each time. Machine.run() is the same guest"
    " in the whole VMM loop, which counts and dispatches each exit and looks for deferred work."
    " Unicorn's emu_start() is called on a loop of HLT, which ends it each time."
)

_PARALLEL = "Recursive fib, each vCPU on a thread and a CPU of its own, over one guest memory."


def tables(rows: Sequence[Row], cpu: int | None) -> Group:
    """A table for each kind of row that there is. `cpu`: where all but the parallel vCPUs ran."""
    shown: list[Table | Text] = []
    if loops := [row for row in rows if isinstance(row, LoopRow)]:
        shown += [_heading("Million guest instructions per second"), _loops(loops)]
    if exits := [row for row in rows if isinstance(row, ExitRow)]:
        shown += [_heading("Idle exits per second"), _exits(exits), Text(_EXITS)]
    pinned = "The host does not allow pinning." if cpu is None else f"Pinned to CPU {cpu}."
    shown.append(Text(pinned))
    if parallel := [row for row in rows if isinstance(row, ParallelRow)]:
        shown += [_heading("Million guest instructions per second, in parallel")]
        shown += [_parallel(parallel), Text(_PARALLEL)]
    return Group(*shown)


def parts(rows: Sequence[Row]) -> dict[str, Any]:
    """The same in types that JSON knows, with the ratios."""
    return {
        "loops": [_as_dict(row) for row in rows if isinstance(row, LoopRow)],
        "loops_mean_ratio": mean_ratio(rows),
        "exits": [_as_dict(row) for row in rows if isinstance(row, ExitRow)],
        "parallel": [_as_dict(row) for row in rows if isinstance(row, ParallelRow)],
    }


def _as_dict(row: Row) -> dict[str, Any]:
    return asdict(row) | {"ratio": row.ratio}


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _loops(rows: Sequence[LoopRow]) -> Table:
    shown = Table()
    shown.add_column("loop")
    for heading in ("instructions", "x86core", "Unicorn", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.summary,
            count(row.instructions),
            count(row.mips),
            count(row.peer_mips),
            _times(row.ratio),
        )
    shown.add_section()
    shown.add_row(Text("geometric mean", style="bold"), "", "", "", _times(mean_ratio(rows)))
    return shown


def _exits(rows: Sequence[ExitRow]) -> Table:
    shown = Table()
    shown.add_column("through")
    for heading in ("x86core", "Unicorn", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.through, count(row.per_second), count(row.peer_per_second), _times(row.ratio)
        )
    return shown


def _parallel(rows: Sequence[ParallelRow]) -> Table:
    shown = Table()
    for heading in ("one vCPU", "two vCPUs", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(count(row.one / 1e6), count(row.two / 1e6), _times(row.ratio))
    return shown


def _times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}"
