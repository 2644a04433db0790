"""A sweep from its beginning, or from where it was killed, to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

from bench.environment import environment
from bench.laboratory.point import Point
from bench.laboratory.results import Header
from bench.laboratory.sweep.definition import Sweep
from bench.laboratory.sweep.outcome import Outcome
from bench.laboratory.sweep.store import opened

#: Gives the outcomes of points, several at a time, as they come.
Runner = Callable[[Sequence[Point]], Generator[list[Outcome]]]


class Observer(Protocol):
    """Whoever watches a sweep."""

    def begins(self, points: Sequence[Point], finished: int) -> object:
        """These are to be run; `finished` others were before."""

    def ends(self, outcome: Outcome) -> object:
        """A point is finished, and on the disk, or has failed."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How many points were finished before, were measured now, and have failed."""

    before: int
    measured: int
    failed: int


def run(sweep: Sweep, path: Path, runner: Runner, observer: Observer) -> Ran:
    """Run what `path` does not hold yet; at the end the file is in the order of the sweep.

    On KeyboardInterrupt what is finished is on the disk. Raises LaboratoryError for a file that is
    not this sweep's, OSError when it cannot be written.
    """
    with opened(path, sweep.name, header(sweep), sweep.points) as store:
        before = len(store.finished)
        points = [point for point in sweep.points if point.key not in store.finished]
        observer.begins(points, before)
        failed = 0
        with closing(runner(points)) as batches:
            for outcomes in batches:
                store.append([outcome.result for outcome in outcomes if outcome.result])
                for outcome in outcomes:
                    failed += outcome.result is None
                    observer.ends(outcome)
        store.sort(sweep.points)
    return Ran(before, len(points) - failed, failed)


def header(sweep: Sweep) -> Header:
    """What the file begins with."""
    output = f"{sweep.name.removesuffix('.toml')}.jsonl"
    command = f"python -m bench sweep {quote(sweep.name)} -o {quote(output)}"
    where: dict[str, Any] = {f"costs {name}": of for name, of in sweep.own_costs.items()}
    if any(point.clock == "wall" for point in sweep.points):
        where |= asdict(environment(command))
        del where["command"]
    if any(point.clock == "virtual" for point in sweep.points):
        where["model"] = sweep.model
    return Header(sweep.text, len(sweep.points), command, where)
