"""How far a sweep is and when it will be through, on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.laboratory.point import Point
from bench.laboratory.sweep.definition import Sweep
from bench.laboratory.sweep.outcome import Outcome

#: Where there is no terminal, a line at most so often.
_LINE_SECONDS: Final = 5.0

#: So many failures are told one by one: what is wrong with all points, these say too.
_TOLD: Final = 20


class SweepProgress:
    """Shows a sweep: on a terminal a bar, elsewhere a line now and then; and the first failures."""

    def __init__(self, sweep: Sweep, console: Console, bar: Progress) -> None:
        self._sweep = sweep
        self._console = console
        self._bar = bar
        self._task = bar.add_task("", total=len(sweep.points), left="beginning")
        self._total = self._before = self._ended = self._failed = 0
        self._seconds = self._seconds_ended = 0.0
        self._start = self._shown = monotonic()

    def begins(self, points: Sequence[Point], finished: int) -> None:
        """These are to be run; `finished` others were before."""
        self._before, self._total = finished, finished + len(points)
        self._seconds = sum(point.seconds for point in points)
        if finished and points:
            self._print(f"{self._sweep.name}: going on after {finished} of {self._total} points")
        self._bar.update(self._task, completed=finished)

    def ends(self, outcome: Outcome) -> None:
        """A point is finished or has failed."""
        self._ended += 1
        self._seconds_ended += outcome.point.seconds
        name = self._sweep.describe(outcome.point)
        if outcome.result is None:
            self._tell_failure(f"failed: {name}: {outcome.failure}")
        done, left = self._before + self._ended, f"{clock_time(self._left())} left"
        self._bar.update(self._task, description=name, completed=done, left=left)
        if not self._console.is_terminal and (
            done == self._total or monotonic() - self._shown >= _LINE_SECONDS
        ):
            self._shown = monotonic()
            self._print(f"[{done}/{self._total}] {name}, {left}")

    def _tell_failure(self, text: str) -> None:
        self._failed += 1
        if self._failed <= _TOLD:
            self._print(text)
        elif self._failed == _TOLD + 1:
            self._print("failed: others too, which are only counted from here on")

    def _left(self) -> float:
        """Seconds to go, if the rest takes as long as what is done, for each second measured."""
        elapsed = monotonic() - self._start
        return elapsed * (self._seconds - self._seconds_ended) / self._seconds_ended

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def sweep_progress(sweep: Sweep) -> Iterator[SweepProgress]:
    """Shows the sweep while it runs."""
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}, {task.fields[left]}"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield SweepProgress(sweep, console, bar)


def clock_time(seconds: float) -> str:
    """A length of time as hours, minutes and seconds: 1:02:03, 2:03 or 3 s."""
    whole = round(max(seconds, 0.0))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"
