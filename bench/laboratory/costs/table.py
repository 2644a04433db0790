"""What things cost in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, get_type_hints

from bench.laboratory.parameter import Parameter

#: No single step of what is modelled takes longer than this.
_LONGEST_NS: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """Nanoseconds of host time for each thing that a model counts, none of them negative.

    Every cost is what it takes by itself: where one thing implies another, both are to be added,
    unless the field says "in full". So a store that wakes a sleeper by a write fault costs the one
    that stores `write_fault + wake_call`, and the guest goes on `write_fault + wake_call +
    thread_wake + c1_exit + context_switch` after it, if a core idles in its shallow state.
    """

    # The guest.
    instruction: Annotated[float, "an instruction of the guest that nobody intercepts"]
    cache_line: Annotated[float, "from a store of one core until another core sees it"]
    poll: Annotated[float, "a turn of a loop that looks at a monitor or a flag"]

    # Leaving the guest.
    exit: Annotated[float, "an intercepted instruction that is stepped over, and back: in full"]
    userspace: Annotated[
        float, "on top of the exit: on to the VMM in userspace, and back by KVM_RUN"
    ]
    sched_yield: Annotated[float, "on top of the exit: a yield with nobody else to run"]
    scan_line: Annotated[float, "to compare one monitored line at an entry"]

    # The monitor.
    arm: Annotated[float, "MONITOR, intercepted, on a page that is protected already: in full"]
    protect: Annotated[float, "on top of `arm`: to write-protect a page that was not"]
    write_fault: Annotated[float, "a store to a protected page that wakes nobody: in full"]

    # Interrupts.
    ipi: Annotated[
        float, "a vCPU sends an interrupt to another: its exit, and the request, in full"
    ]
    interrupt: Annotated[float, "a vCPU takes an interrupt: injection, delivery, end of interrupt"]
    timer: Annotated[float, "a vCPU programs its timer: in full"]

    # Threads of the host.
    block: Annotated[float, "a thread goes to sleep: from its decision until it is off its core"]
    wake_call: Annotated[float, "to wake a sleeping thread: what the waker pays"]
    thread_wake: Annotated[float, "from the wake's call until an idle core turns to the thread"]
    context_switch: Annotated[
        float, "a core turns from one thread, or from idling, to another thread"
    ]
    kick: Annotated[float, "to have a thread leave the guest: what the one that asks pays"]

    # Cores that idle.
    mwait_exit: Annotated[
        float, "a core goes on that waited in an MWAIT of the guest (passthrough)"
    ]
    c1_exit: Annotated[float, "an idle core goes on that was in its shallow state"]
    c6_exit: Annotated[
        float, "an idle core goes on that was in its deep state, in place of `c1_exit`"
    ]
    c6_after: Annotated[float, "how long a core idles before it is in its deep state; no cost"]

    # Deferred work.
    task: Annotated[float, "on top of a deferred task's own work, for each of its slices"]


#: Every cost, in the order of the table, with what it covers.
COSTS: Final = tuple(
    Parameter(name, 0.0, 0.0, _LONGEST_NS, "ns", hint.__metadata__[0])
    for name, hint in get_type_hints(CostTable, include_extras=True).items()
)


@dataclass(frozen=True, slots=True)
class Preset:
    """A cost table with its name, what it stands for, and where each number comes from."""

    name: str
    summary: str
    costs: CostTable
    sources: Mapping[str, str]
