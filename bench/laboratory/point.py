"""One run: which scenario, under what, on which clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from bench.laboratory.fields import checked

#: Host threads in real time, or the host model in virtual time.
CLOCKS: Final = ("wall", "virtual")


@dataclass(frozen=True, slots=True)
class Point:
    """All that decides a run. `parameters` are complete, those of the host model included.

    `executor` names who does deferred work (`vmm.EXECUTORS`), `costs` the cost table of virtual
    time, "" in wall time. `seconds` is the time to measure, of the clock in use. In virtual time
    equal points have equal measures; `repeat` is their seed.
    """

    scenario: str
    policy: str
    executor: str
    clock: str
    costs: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 1.0
    repeat: int = 0

    @property
    def key(self) -> str:
        """The point as text: the same for equal points, in every process."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def group(self) -> str:
        """The key without the repeat: points of one group differ in nothing else."""
        fields = self.as_dict()
        del fields["repeat"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "scenario": self.scenario,
            "policy": self.policy,
            "executor": self.executor,
            "clock": self.clock,
            "costs": self.costs,
            "parameters": dict(self.parameters),
            "seconds": self.seconds,
            "repeat": self.repeat,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The point that `as_dict` gave. Raises TypeError for other fields or types."""
        return cls(**checked(cls, fields))
