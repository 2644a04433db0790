"""Phase after phase, until the time is over; what they counted together."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count, repeat

from tests.stress.arena import Arena, Count, Outcome, StressError
from tests.stress.plan import LOSING, Phase, draw
from tests.stress.watch import Incident
from vmm import MWAIT_CHOICES

#: What the counts are broken down by, and how to tell it of a phase and one vCPU's count in it.
BREAKDOWNS: Mapping[str, Callable[[Phase, Count], str]] = {
    "policy": lambda phase, _: phase.policy,
    "disturbance": lambda phase, _: phase.disturbance,
    "layout": lambda phase, _: phase.layout,
    "idle loop": lambda _, one: one.member.idle.name,
    "where in the line": lambda _, one: one.member.mailbox.place,
    "store": lambda _, one: one.member.mailbox.store.name,
}

#: What a number in a result stands for.
QUANTITIES = ("handoffs", "waits", "spurious", "lost")


@dataclass(frozen=True, slots=True)
class Settings:
    """`phase`: only this one of the seed, again and again. `patience_ns`: after how long a sleeper
    whose token has been sent is lost. `look_before_monitor`: run the guest that loses wakes.
    """

    seconds: float
    vcpus: int = 4
    seed: int = 0
    phase: int | None = None
    patience_ns: int = 2_000_000_000
    look_before_monitor: bool = False


class Tally:
    """The sums over all phases that were finished, and what went wrong."""

    def __init__(self) -> None:
        self.phases = 0
        self.total: Counter[str] = Counter()
        self.broken_down: dict[str, dict[str, Counter[str]]] = {name: {} for name in BREAKDOWNS}
        self.stats: Counter[str] = Counter()
        self.incidents: list[Incident] = []

    def add(self, outcome: Outcome) -> None:
        self.phases += 1
        self.stats.update(outcome.stats)
        self.incidents += outcome.losses
        for one in outcome.counts:
            amounts = {name: getattr(one, name) for name in QUANTITIES}
            self.total.update(amounts)
            for breakdown, key_of in BREAKDOWNS.items():
                rows = self.broken_down[breakdown]
                rows.setdefault(key_of(outcome.phase, one), Counter()).update(amounts)


#: Told the phase's number, and the handoffs and losses so far, several times a second.
OnProgress = Callable[[int, int, int], object]


def run(settings: Settings, tally: Tally, on_progress: OnProgress) -> None:
    """Count into `tally` for so many seconds, or until a guest goes wrong.

    Ctrl-C leaves the phase under way uncounted.
    """
    policies = [name for name in MWAIT_CHOICES if name not in LOSING]
    cores = len(os.sched_getaffinity(0))
    numbers: Iterable[int] = count() if settings.phase is None else repeat(settings.phase)
    end = time.monotonic() + settings.seconds
    for number in numbers:
        left = end - time.monotonic()
        if left <= 0:
            return
        phase = draw(settings.seed, number, settings.vcpus, cores, policies)
        try:
            tally.add(_run_phase(phase, left, settings, tally, on_progress))
        except StressError as error:
            tally.incidents += error.incidents
            return


def _run_phase(
    phase: Phase, left: float, settings: Settings, tally: Tally, on_progress: OnProgress
) -> Outcome:
    """For its own time, or for the seconds that are left."""
    arena = Arena(phase, settings.patience_ns, look_before_monitor=settings.look_before_monitor)

    def on_look() -> None:
        handoffs = tally.total["handoffs"] + arena.handoffs
        on_progress(phase.number, handoffs, tally.total["lost"] + arena.lost)

    return arena.run(min(phase.seconds, left), on_look)
