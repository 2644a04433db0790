"""The cost table in whole ns, as the model counts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from bench.laboratory.costs import CostTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Nanoseconds:
    """The costs of a `CostTable`, which says what each covers, rounded to whole ns."""

    instruction: int
    cache_line: int
    poll: int
    exit: int
    userspace: int
    sched_yield: int
    scan_line: int
    arm: int
    protect: int
    write_fault: int
    ipi: int
    interrupt: int
    timer: int
    block: int
    wake_call: int
    thread_wake: int
    context_switch: int
    kick: int
    mwait_exit: int
    c1_exit: int
    c6_exit: int
    c6_after: int
    task: int

    @classmethod
    def of(cls, costs: CostTable) -> Self:
        """Rounded, an instruction to 1 ns at least."""
        values = {item.name: round(getattr(costs, item.name)) for item in fields(costs)}
        values["instruction"] = max(1, values["instruction"])
        return cls(**values)
