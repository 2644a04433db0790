"""All that is counted about a machine, at one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import perf_counter

from bench.laboratory.mailbox import Sample
from bench.laboratory.policies import Policy
from bench.laboratory.wall.running import Running
from x86core import EXIT_NAMES


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums over the vCPUs. `exits` are by KVM's name, `stats` the core's counters."""

    seconds: float
    sample: Sample
    instructions: int
    exits: Counter[str]
    stats: Counter[str]
    cpu_ns: int

    @classmethod
    def of(cls, running: Running) -> Reading:
        """All counters now."""
        loops = running.machine.loops
        exits: Counter[str] = Counter()
        stats: Counter[str] = Counter()
        for loop in loops:
            for reason, count in dict(loop.exits).items():
                exits[EXIT_NAMES.get(reason, str(reason))] += count
            stats.update(loop.vcpu.stats)
        return cls(
            seconds=perf_counter(),
            sample=running.mailbox.sample(),
            instructions=sum(loop.vcpu.instructions for loop in loops),
            exits=exits,
            stats=stats,
            cpu_ns=running.cpu_ns(),
        )

    def since(self, before: Reading) -> Reading:
        """What has been added to an earlier reading."""
        return Reading(
            seconds=self.seconds - before.seconds,
            sample=self.sample.since(before.sample),
            instructions=self.instructions - before.instructions,
            exits=self.exits - before.exits,
            stats=self.stats - before.stats,
            cpu_ns=self.cpu_ns - before.cpu_ns,
        )

    def sleeps(self, policy: Policy) -> int:
        """How often a vCPU slept: what is spun through, polling or held, is no sleep."""
        stats, sleeps = self.stats, 0
        if policy.mwait != "passthrough":
            sleeps += stats["mwait_waits"] - stats["mwait_successful_poll"]
        if policy.hlt != "passthrough":
            sleeps += stats["halt_exits"] - stats["halt_successful_poll"]
        return max(0, sleeps)  # a wait that has begun before may end in this time
