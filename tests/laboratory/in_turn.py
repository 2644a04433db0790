"""Guests of the laboratory in virtual time, straight on the core: every run is the same."""

from __future__ import annotations

from collections.abc import Mapping

import x86core as x86
from bench.laboratory.guest import install
from bench.laboratory.mailbox import MEMORY_SIZE, Sample
from bench.laboratory.policies import find_policy
from bench.laboratory.scenario import Load
from bench.laboratory.scenarios import find_scenario
from vmm import idle_policy

#: Instructions in a turn, and so how many ns one vCPU may be ahead of another.
TURN = 100


class Guest:
    """The guest of a scenario, from its beginning. `exits` are the reasons for which it left."""

    def __init__(
        self,
        scenario: str,
        policy: str = "fault",
        values: Mapping[str, float] | None = None,
        seed: int = 0,
        turn: int = TURN,
    ) -> None:
        found, way = find_scenario(scenario), find_policy(policy)
        self.load: Load = found.load(found.values(values or {}))
        self.memory = x86.Memory(MEMORY_SIZE, virtual_time=True)
        self.vcpus = [x86.VCPU(self.memory, index) for index in range(self.load.vcpus)]
        for vcpu in self.vcpus:
            idle_policy(way.mwait, way.hlt).apply(vcpu)
        self.mailbox = install(self.memory, self.vcpus, found.guest, self.load, way, seed=seed)
        self.turns = x86.Lockstep(self.vcpus, turn)
        self.exits: list[int] = []

    def run(self, ns: int) -> Sample:
        """Go on for so many ns of guest time; what has been counted since the beginning."""
        until = self.turns.time + ns
        while True:
            vcpu, reason = self.turns.run(until)
            if vcpu is None:
                if reason == x86.EXIT_IDLE:  # nothing will happen by itself any more
                    self.turns.time = until
                return self.mailbox.sample()
            self.exits.append(reason)

    def stats(self, name: str) -> int:
        """A counter of the core, of all vCPUs."""
        return sum(vcpu.stats[name] for vcpu in self.vcpus)
