"""The core's rows as tables, and as what goes into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.core import ExitRow, LoopRow, ParallelRow, Row, StringRow, mean_ratio
from bench.protection import EventRow, PagedRow
from bench.units import NOTHING, count, duration

_LOOPS = "The geometric mean is that of the loops above it; the others stand beside it."

_STRINGS = (
    "64 KiB at a time. Bytes are compared and not instructions, because a REP is one instruction to"
    " x86core (MIPS: as it counts), and one for each repetition to Unicorn. memcpy() is the host's"
    " own, over as many bytes."
)

_PAGED = (
    "All of RAM mapped to where it is, by 4 KiB or by 4 MiB pages; each ratio is to the same engine"
    " without paging."
)

_EVENTS = (
    "A turn of a loop that does nothing else. Handlers count, and return. Unicorn delivers no"
    " interrupt or exception through the guest's gates, and its TLB grows until nothing misses."
)

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
        shown += [_heading("Million guest instructions per second"), _loops(loops), Text(_LOOPS)]
    if strings := [row for row in rows if isinstance(row, StringRow)]:
        shown += [_heading("String instructions: bytes per nanosecond of the host")]
        shown += [_strings(strings), Text(_STRINGS)]
    if paged := [row for row in rows if isinstance(row, PagedRow)]:
        shown += [_heading("Million guest instructions per second under paging")]
        shown += [_paged(paged), Text(_PAGED)]
    if events := [row for row in rows if isinstance(row, EventRow)]:
        shown += [_heading("Protected mode: time of an event"), _events(events), Text(_EVENTS)]
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
        "strings": [_as_dict(row) for row in rows if isinstance(row, StringRow)],
        "paged": [_as_paged(row) for row in rows if isinstance(row, PagedRow)],
        "events": [_as_dict(row) for row in rows if isinstance(row, EventRow)],
        "exits": [_as_dict(row) for row in rows if isinstance(row, ExitRow)],
        "parallel": [_as_dict(row) for row in rows if isinstance(row, ParallelRow)],
    }


def _as_dict(row: Row) -> dict[str, Any]:
    return asdict(row) | {"ratio": row.ratio}


def _as_paged(row: PagedRow) -> dict[str, Any]:
    ratios = {"large_page_ratio": row.large_page_ratio, "peer_ratio": row.peer_ratio}
    return _as_dict(row) | ratios


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _loops(rows: Sequence[LoopRow]) -> Table:
    shown = Table()
    shown.add_column("loop")
    for heading in ("instructions", "x86core", "Unicorn", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        if row.in_mean:
            _add_loop(shown, row)
    shown.add_section()
    shown.add_row(Text("geometric mean", style="bold"), "", "", "", _hundredths(mean_ratio(rows)))
    shown.add_section()
    for row in rows:
        if not row.in_mean:
            _add_loop(shown, row)
    return shown


def _add_loop(shown: Table, row: LoopRow) -> None:
    figures = [count(figure) for figure in (row.instructions, row.mips, row.peer_mips)]
    shown.add_row(row.summary, *figures, _hundredths(row.ratio))


def _strings(rows: Sequence[StringRow]) -> Table:
    shown = Table()
    shown.add_column("instruction")
    for heading in ("MIPS", "x86core", "Unicorn", "ratio", "memcpy()"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.summary,
            _hundredths(row.mips),
            _hundredths(row.bytes_per_ns),
            _hundredths(row.peer_bytes_per_ns),
            _hundredths(row.ratio),
            _hundredths(row.memcpy_bytes_per_ns),
        )
    return shown


def _paged(rows: Sequence[PagedRow]) -> Table:
    shown = Table()
    shown.add_column("loop")
    for heading in ("unpaged", "4 KiB", "ratio", "4 MiB", "ratio", "Unicorn, 4 KiB", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.loop,
            count(row.unpaged_mips),
            count(row.mips),
            _hundredths(row.ratio),
            count(row.large_page_mips),
            _hundredths(row.large_page_ratio),
            count(row.peer_mips),
            _hundredths(row.peer_ratio),
        )
    return shown


def _events(rows: Sequence[EventRow]) -> Table:
    shown = Table()
    shown.add_column("event")
    for heading in ("x86core", "Unicorn", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        times = [duration(time) for time in (row.nanoseconds, row.peer_nanoseconds)]
        shown.add_row(row.summary, *times, _hundredths(row.ratio))
    return shown


def _exits(rows: Sequence[ExitRow]) -> Table:
    shown = Table()
    shown.add_column("through")
    for heading in ("x86core", "Unicorn", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row.through, count(row.per_second), count(row.peer_per_second), _hundredths(row.ratio)
        )
    return shown


def _parallel(rows: Sequence[ParallelRow]) -> Table:
    shown = Table()
    for heading in ("one vCPU", "two vCPUs", "ratio"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(count(row.one / 1e6), count(row.two / 1e6), _hundredths(row.ratio))
    return shown


def _hundredths(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
