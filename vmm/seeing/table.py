"""Statistics as tables, like those of kvm_stat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from vmm.seeing.meter import ACTIVITIES

#: With more vCPUs the events are shown for all of them together.
_MOST_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """A vCPU at one moment: ns by activity, exits by the reason's name, the core's counters."""

    index: int
    instructions: int
    times: Mapping[str, int]
    exits: Mapping[str, int]
    stats: Mapping[str, int]


def statistics_table(
    samples: Sequence[Sample], wall_ns: int, before: Sequence[Sample] = (), since_ns: int = 0
) -> Group:
    """Where the time went, and what was counted, of each vCPU and of all.

    Rates are those since `before`, which was `since_ns` ago; without it, of the whole time.
    """
    return Group(_times(samples, wall_ns), _events(samples, before, since_ns or wall_ns))


def in_words(nanoseconds: float) -> str:
    """A time in three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{nanoseconds:.0f} ns"


def count_in_words(count: float) -> str:
    """A count in at least three digits, exact below 100,000."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 100 * size or (count >= size and size > 1e3):
            value = count / size
            return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{count:,}" if isinstance(count, int) else f"{count:,.{0 if count >= 10 else 1}f}"


def _times(samples: Sequence[Sample], wall_ns: int) -> Table:
    table = Table(box=SIMPLE_HEAD)
    shown = [name for name in ACTIVITIES if any(sample.times.get(name) for sample in samples)]
    table.add_column(f"of {in_words(wall_ns)}", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("_", "\n"), justify="right", vertical="bottom")
    for sample in samples:
        cells = (_share(sample.times.get(name, 0), wall_ns) for name in shown)
        table.add_row(f"vCPU {sample.index}", *cells)
    if len(samples) > 1:
        table.add_section()
        sums = (sum(sample.times.get(name, 0) for sample in samples) for name in shown)
        table.add_row("total", *(_share(total, wall_ns * len(samples)) for total in sums))
    return table


def _share(nanoseconds: int, wall_ns: int) -> str:
    if not nanoseconds:
        return ""
    return f"{in_words(nanoseconds)}\n{nanoseconds / max(wall_ns, 1):.1%}"


def _events(samples: Sequence[Sample], before: Sequence[Sample], since_ns: int) -> Table:
    table = Table(box=SIMPLE_HEAD)
    now, then = ([_counts(sample) for sample in some] for some in (samples, before))
    several = 1 < len(samples) <= _MOST_COLUMNS
    table.add_column("event", no_wrap=True)
    if several:
        for sample in samples:
            table.add_column(f"vCPU {sample.index}", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("per second", justify="right", no_wrap=True)
    for name in _names(samples, now):
        total = sum(counts.get(name, 0) for counts in now)
        rate = (total - sum(counts.get(name, 0) for counts in then)) * 1e9 / max(since_ns, 1)
        each = [count_in_words(counts.get(name, 0)) for counts in now] if several else []
        table.add_row(name, *each, f"{total:,}", count_in_words(rate))
    return table


def _counts(sample: Sample) -> dict[str, int]:
    """What there is to count of a vCPU: exits by reason, and the core's counters but for times."""
    counters = {name: n for name, n in sample.stats.items() if not name.endswith("_ns")}
    # The host's triggers are those of the whole memory.
    if sample.index:
        counters["monitor_triggers_host"] = 0
    return {"instructions": sample.instructions, **sample.exits, **counters}


def _names(samples: Sequence[Sample], counts: Sequence[Mapping[str, int]]) -> list[str]:
    """The events of which there were any: instructions, exits, then the core's counters."""
    exits = sorted({name for sample in samples for name in sample.exits})
    names = dict.fromkeys(["instructions", *exits, *counts[0]])
    return [name for name in names if any(each.get(name) for each in counts)]
