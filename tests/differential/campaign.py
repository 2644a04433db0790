"""Many cases, one after the other, in a child process: Unicorn may take the whole process down."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Final

from tests.differential.agreement import Comparison, Difference
from tests.differential.disassembly import Mode
from tests.differential.generate import Generator
from tests.differential.shrink import minimal

#: Different differences after which a campaign gives up: more would not be read.
_ENOUGH: Final = 20
#: Seconds between two reports of a child.
_REPORT: Final = 0.5

_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class Campaign:
    """What a run of cases came to."""

    mode: Mode
    cases: int = 0
    instructions: int = 0
    #: How often each known fault of Unicorn, or other reason, accounted for a difference.
    reasons: Counter[str] = field(default_factory=Counter)
    #: A minimal example and a count for each cause.
    differences: dict[str, Difference] = field(default_factory=dict)
    occurrences: Counter[str] = field(default_factory=Counter)

    def add(self, other: Campaign) -> None:
        """Count another run of cases in."""
        self.cases += other.cases
        self.instructions += other.instructions
        self.reasons += other.reasons
        self.differences = other.differences | self.differences
        self.occurrences += other.occurrences


@dataclass(frozen=True, slots=True)
class _Work:
    """Cases of a seed from `first` on and before `last`, until a point of time, some left out."""

    comparison: type[Comparison]
    mode: Mode
    seed: int
    first: int
    last: float
    deadline: float
    left_out: frozenset[int]


def run(
    mode: Mode,
    seed: int,
    *,
    seconds: float = math.inf,
    cases: float = math.inf,
    comparison: type[Comparison] = Comparison,
    progress: Callable[[float], None] | None = None,
) -> Campaign:
    """Compare cases 0, 1, 2, ... of a seed until so many or enough differences, or for so long.

    A case in which Unicorn aborts is left out and counted; the core never aborts, and how it stands
    a crash is for tests.fuzz to show. `progress` is called with the seconds that have passed.
    Raises RuntimeError when the child ends in another way.
    """
    campaign, start = Campaign(mode), time.monotonic()
    first, left_out = 0, frozenset[int]()
    while True:
        work = _Work(comparison, mode, seed, first, cases, start + seconds, left_out)
        current = _CONTEXT.Value("q", first, lock=False)
        reports, theirs = _CONTEXT.Pipe(duplex=False)
        child = _CONTEXT.Process(target=_work, args=(work, current, theirs), daemon=True)
        child.start()
        theirs.close()
        try:
            while True:
                first, part = reports.recv()
                campaign.add(part)
                if progress:
                    progress(time.monotonic() - start)
                if len(campaign.differences) >= _ENOUGH:
                    return campaign
        except EOFError:
            child.join()
        finally:
            child.kill()
            child.join()
        if child.exitcode == 0:
            return campaign
        if child.exitcode != -signal.SIGABRT or current.value in left_out:
            raise RuntimeError(
                f"the process ended with status {child.exitcode} in case {current.value} "
                f"of seed {seed}, {mode}"
            )
        left_out |= {current.value}
        campaign.reasons["Unicorn aborts"] += 1


def _work(work: _Work, current: Synchronized[int], reports: Connection) -> None:
    """In the child: compare, and report now and then how far it got."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted as well, and ends it
    comparison, generator = work.comparison(work.mode), Generator(work.mode, work.seed)
    number, part, reported = work.first, Campaign(work.mode), time.monotonic()
    while (now := time.monotonic()) < work.deadline and number < work.last:
        if now - reported > _REPORT:
            reports.send((number, part))
            part, reported = Campaign(work.mode), now
        current.value = number
        if number not in work.left_out:
            _compare(comparison, generator, number, part)
        number += 1
    reports.send((number, part))


def _compare(comparison: Comparison, generator: Generator, number: int, part: Campaign) -> None:
    before = comparison.core.instructions
    verdict = comparison.compare(generator.case(number))
    part.cases += 1
    part.instructions += comparison.core.instructions - before
    part.reasons.update(verdict.reasons)
    if verdict.difference is not None:
        cause = verdict.difference.cause
        part.occurrences[cause] += 1
        if cause not in part.differences:
            part.differences[cause] = minimal(comparison, verdict.difference)
