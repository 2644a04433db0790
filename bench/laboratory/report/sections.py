"""Results in the parts that a reader compares: one scenario, one clock, one cost table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from bench.laboratory.point import Point
from bench.laboratory.statistics import Summary
from vmm import EXECUTORS
from vmm.idle import MWAIT_CHOICES


@dataclass(frozen=True)
class Section:
    """The summaries of a scenario on one clock. Policies and executors stand in the VMM's order."""

    scenario: str
    clock: str
    costs: str
    summaries: Sequence[Summary]

    @property
    def where(self) -> str:
        """The clock, in words."""
        return "wall time" if self.clock == "wall" else f"virtual time, {self.costs} costs"

    @property
    def name(self) -> str:
        """For files and links: letters, digits and hyphens."""
        return slug(self.scenario, self.clock, self.costs)

    @cached_property
    def policies(self) -> list[str]:
        """Those that there are."""
        return in_order((one.point.policy for one in self.summaries), MWAIT_CHOICES)

    @cached_property
    def executors(self) -> list[str]:
        """Those that there are."""
        return in_order((one.point.executor for one in self.summaries), EXECUTORS)

    @cached_property
    def swept(self) -> dict[str, list[float]]:
        """The parameters that have more than one value, each with its values, rising."""
        values: dict[str, set[float]] = {}
        for one in self.summaries:
            for name, value in parameters(one.point).items():
                values.setdefault(name, set()).add(value)
        return {name: sorted(found) for name, found in values.items() if len(found) > 1}

    @cached_property
    def reference(self) -> dict[str, float]:
        """Of each swept parameter the value that most summaries have, of several the first: where
        all others are compared.
        """
        counts: dict[str, Counter[float]] = {name: Counter() for name in self.swept}
        for one in self.summaries:
            values = parameters(one.point)
            for name, counter in counts.items():
                if name in values:
                    counter[values[name]] += 1
        return {name: counter.most_common(1)[0][0] for name, counter in counts.items()}

    def at_reference(self, *free: str) -> list[Summary]:
        """The summaries whose swept parameters, but for those named, have the reference's values;
        in order.
        """
        fixed = {name: value for name, value in self.reference.items() if name not in free}
        found = [
            one
            for one in self.summaries
            if all(parameters(one.point).get(name) == value for name, value in fixed.items())
        ]
        return self.in_order(found)

    def in_order(self, summaries: Iterable[Summary]) -> list[Summary]:
        """By policy, then by executor, then by the swept parameters."""

        def place(one: Summary) -> tuple[float, ...]:
            policy, executor = one.point.policy, one.point.executor
            values = parameters(one.point)
            swept = (values.get(name, -inf) for name in self.swept)
            return (self.policies.index(policy), self.executors.index(executor), *swept)

        return sorted(summaries, key=place)

    def by_policy(self, summaries: Iterable[Summary]) -> dict[str, Summary]:
        """One summary for each policy: that of the first executor."""
        found: dict[str, Summary] = {}
        for one in summaries:
            if one.point.executor == self.executors[0]:
                found.setdefault(one.point.policy, one)
        return found

    def at(self, *free: str) -> str:
        """What the others are compared at, in words; "" when nothing was swept beside `free`."""
        fixed = [
            f"{name} = {number(value)}"
            for name, value in self.reference.items()
            if name not in free
        ]
        return ", ".join(fixed)


def sections(summaries: Iterable[Summary]) -> list[Section]:
    """All of them, in the order in which they first come; wall time before virtual time."""
    found: dict[tuple[str, str, str], list[Summary]] = {}
    for one in summaries:
        key = (one.point.scenario, one.point.clock, one.point.costs)
        found.setdefault(key, []).append(one)
    made = [Section(*key, summaries) for key, summaries in found.items()]
    return sorted(made, key=lambda section: (section.clock != "wall", section.costs))


def parameters(point: Point) -> Mapping[str, float]:
    """Those of the scenario and the host model, and the length of the measurement."""
    return dict(point.parameters) | {"seconds": point.seconds}


def in_order(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names, each once: those that are known first, in the known order."""
    found = list(dict.fromkeys(names))
    order = [name for name in known if name in found]
    return order + [name for name in found if name not in order]


def number(value: float) -> str:
    """A parameter's value as its writer would put it."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def slug(*words: str) -> str:
    """Words as a name for files and links. A path stands for its file."""
    text = " ".join(word.rsplit("/", 1)[-1] for word in words)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
