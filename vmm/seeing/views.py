"""What of a run the user of the command line wants to see."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from rich.console import Console

from vmm.seeing.live import LiveStatistics, take_samples
from vmm.seeing.observer import ObservedMachine, Observer
from vmm.seeing.table import statistics_table
from vmm.seeing.timeline import Timeline

#: Columns of tables that do not go to a terminal.
_WIDTH: Final = 160


class Views:
    """Statistics on stderr, and a timeline in a file, if they are wanted.

    `output` is where the guest prints to, None for nowhere. Raises TimelineError.
    """

    def __init__(
        self, stats: bool, timeline: str | None, output: Callable[[bytes], object] | None
    ) -> None:
        console = Console(stderr=True)
        self._console = console if console.is_terminal else Console(stderr=True, width=_WIDTH)
        self._stats = stats
        self._timeline = None if timeline is None else Timeline(timeline)
        #: What the machine is given.
        self.output = output
        self.observers: list[Observer] = []
        if stats and console.is_terminal:
            live = LiveStatistics(console)
            self.observers.append(live)
            if output is not None and sys.stdout.isatty():
                self.output = live.print
        if self._timeline is not None:
            self.observers.append(self._timeline)

    def show(self, machine: ObservedMachine) -> None:
        """At the end of the run."""
        if self._stats:
            self._console.print(statistics_table(take_samples(machine), machine.meter.wall_ns))
        if self._timeline is not None and self._timeline.lost:
            self._console.print(
                f"the timeline lacks {self._timeline.lost:,} records, which came too fast:"
                " see the slices called 'not recorded'",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
