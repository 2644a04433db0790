"""Statistics on the terminal while a machine runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

from vmm.seeing.observer import ObservedMachine
from vmm.seeing.table import Sample, statistics_table
from x86core import EXIT_NAMES

#: Seconds between two pictures.
_PERIOD: Final = 1.0


def take_samples(machine: ObservedMachine) -> tuple[Sample, ...]:
    """Each vCPU as it is now."""
    return tuple(
        Sample(
            index=loop.vcpu.index,
            instructions=loop.vcpu.instructions,
            times=machine.meter.times(loop.vcpu.index),
            exits={EXIT_NAMES.get(r, str(r)): n for r, n in sorted(loop.exits.copy().items())},
            stats=loop.vcpu.stats,
        )
        for loop in machine.loops
    )


class LiveStatistics:
    """Draws the tables on a terminal once a second while the machine runs.

    They go away at its end. What the guest prints goes above them, whole lines at a time, when it
    is given to `print`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._over = threading.Event()
        self._line = bytearray()

    @contextmanager
    def watch(self, machine: ObservedMachine) -> Iterator[None]:
        """Draw while inside."""
        live = Live(console=self._console, auto_refresh=False, transient=True)
        thread = threading.Thread(
            target=self._draw, args=(machine, live), name="statistics", daemon=True
        )
        with live:
            thread.start()
            try:
                yield
            finally:
                self._over.set()
                thread.join()
        self._put(self._line)

    def print(self, data: bytes) -> None:
        """What the guest prints."""
        self._line += data
        end = self._line.rfind(b"\n") + 1
        if end:
            self._put(self._line[:end])
            del self._line[:end]

    def _put(self, text: bytearray) -> None:
        self._console.print(
            text.decode(errors="replace"), end="", markup=False, highlight=False, soft_wrap=True
        )

    def _draw(self, machine: ObservedMachine, live: Live) -> None:
        before, then_ns = take_samples(machine), monotonic_ns()
        while not self._over.wait(_PERIOD):
            now, now_ns = take_samples(machine), monotonic_ns()
            picture: RenderableType = statistics_table(
                now, machine.meter.wall_ns, before, now_ns - then_ns
            )
            live.update(picture, refresh=True)
            before, then_ns = now, now_ns
