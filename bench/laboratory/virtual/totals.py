"""What has been counted on the modelled host so far; the difference of two is what is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bench.laboratory.mailbox import Sample
from bench.laboratory.virtual.background import Neighbour
from bench.laboratory.virtual.machine import GuestMachine
from bench.laboratory.virtual.scheduler import Host


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of all machines together; `samples` and `tasks` have an item for each of them.

    Times are in ns. `tasks` are how many deferred ones were done.
    """

    counts: Counter[str]
    exits: Counter[str]
    samples: tuple[Sample, ...]
    tasks: tuple[int, ...]

    @classmethod
    def of(
        cls, host: Host, machines: Sequence[GuestMachine], neighbours: Sequence[Neighbour]
    ) -> Self:
        """What has been counted until now."""
        host.settle()
        counts: Counter[str] = Counter()
        exits: Counter[str] = Counter()
        for machine in machines:
            counts["lost"] += machine.lost
            for other in machine.others:
                counts["cpu_ns"] += other.cpu_ns
            for thread in machine.threads:
                counts["cpu_ns"] += thread.cpu_ns
                counts["instructions"] += thread.vcpu.instructions
                counts["sleeps"] += thread.sleeps
                counts["turns_passed"] += thread.turns_passed
                exits.update(thread.exits)
                if machine.protects:
                    stats = thread.vcpu.stats
                    counts["write_faults"] += stats["write_faults"]
                    counts["false_faults"] += stats["false_faults"]
        counts["neighbour_ns"] = sum(neighbour.work_ns for neighbour in neighbours)
        return cls(
            counts,
            exits,
            tuple(machine.mailbox.sample() for machine in machines),
            tuple(len(machine.work.latencies) for machine in machines),
        )

    def since(self, before: Totals) -> tuple[Counter[str], Counter[str]]:
        """By how much `counts` and `exits` have grown."""
        counts, exits = self.counts.copy(), self.exits.copy()
        counts.subtract(before.counts)
        exits.subtract(before.exits)
        return counts, exits
