"""The emulator's own costs on this host: what each is computed from, and the table that results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Final

from bench.engines import EngineError
from bench.environment import Environment
from bench.laboratory.costs.calibration import guests, hosts
from bench.laboratory.costs.calibration.guests import SCANNED_LINES
from bench.laboratory.costs.calibration.probe import Probe
from bench.laboratory.costs.table import COSTS, CostTable, Preset
from bench.loops import LOOPS

PROBES: Final = (*guests.PROBES, *hosts.PROBES)

#: After how long a rest a core is taken to be in its deep state: between the two rests of which the
#: wakes are timed.
_DEEP_AFTER_NS: Final = 1_000_000

#: What the probes gave, in ns, by name.
Times = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """A cost from the times of some probes; `how` says in words what `compute` does."""

    probes: tuple[str, ...]
    how: str
    compute: Callable[[Times], float]


def _of(probe: str) -> Fit:
    return Fit((probe,), "", lambda times: times[probe])


def _beyond(probe: str, *others: str) -> Fit:
    """What one takes more than others together; nothing when noise has it less."""
    return Fit(
        (probe, *others),
        f"less {' and '.join(others)}",
        lambda times: max(0.0, times[probe] - sum(times[other] for other in others)),
    )


def _constant(nanoseconds: float, why: str) -> Fit:
    return Fit((), why, lambda _: nanoseconds)


def _switch(times: Times) -> float:
    return max(0.0, times["yield_in_turn"] / 2 - times["yield_alone"])


_LOOP_PROBES: Final = tuple(f"instruction_{loop.name}" for loop in LOOPS)

FITS: Final[Mapping[str, Fit]] = {
    "instruction": Fit(
        _LOOP_PROBES,
        "geometric mean",
        lambda times: geometric_mean(times[probe] for probe in _LOOP_PROBES),
    ),
    "cache_line": _of("wake_spinning"),
    "poll": _of("look"),
    "exit": _beyond("mwait_nop", "turn"),
    "userspace": _beyond("vmm_exit", "mwait_nop"),
    "sched_yield": _beyond("mwait_yield", "mwait_nop"),
    "scan_line": Fit(
        ("entry_scanning", "entry"),
        f"difference by {SCANNED_LINES}",
        lambda times: max(0.0, times["entry_scanning"] - times["entry"]) / SCANNED_LINES,
    ),
    "arm": _beyond("monitor", "turn"),
    "protect": _beyond("monitor_first", "monitor_again"),
    "write_fault": _beyond("store_beside", "store"),
    "ipi": _beyond("ipi_to_other", "turn"),
    "interrupt": _beyond("interrupt", "ipi_to_self"),
    "timer": _beyond("timer_start", "turn"),
    "block": Fit(
        ("handoff_one_cpu", "yield_in_turn", "yield_alone"),
        "half of handoff_one_cpu less context_switch; the waker has the other half",
        lambda times: max(0.0, times["handoff_one_cpu"] - _switch(times)) / 2,
    ),
    "wake_call": _of("wake_futex_call"),
    "thread_wake": Fit(
        ("wake_futex", "wake_futex_call", "yield_in_turn", "yield_alone"),
        "wake_futex less wake_call and context_switch",
        lambda times: max(0.0, times["wake_futex"] - times["wake_futex_call"] - _switch(times)),
    ),
    "context_switch": Fit(
        ("yield_in_turn", "yield_alone"), "half of the first less the second", _switch
    ),
    "kick": _of("kick"),
    "mwait_exit": _beyond("wake_passthrough", "wake_spinning"),
    "c1_exit": _constant(0.0, "in thread_wake, which was timed across CPUs"),
    "c6_exit": _beyond("wake_futex_rested", "wake_futex"),
    "c6_after": _constant(_DEEP_AFTER_NS, "between the rests of wake_futex and wake_futex_rested"),
    "task": _of("task"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How often each probe is timed; the least time counts, as noise only adds."""

    repeats: int = 5


def time_all(
    probes: Iterable[Probe], settings: Settings, on_progress: Callable[[Probe], object]
) -> dict[str, float]:
    """The least time of each probe in ns; `on_progress` is told of each as it begins.

    Raises EngineError when a guest goes wrong, vmm.AssemblyError without an assembler, and
    KeyboardInterrupt.
    """
    times: dict[str, float] = {}
    for probe in probes:
        on_progress(probe)
        with probe.ready() as turn:
            times[probe.name] = min(turn() for _ in range(settings.repeats))
    return times


def fit(name: str, summary: str, times: Times, where: Environment) -> Preset:
    """The table from what every probe gave.

    Raises EngineError for a cost that cannot be, when a host was too busy to time anything on.
    """
    costs: dict[str, float] = {}
    sources: dict[str, str] = {}
    for cost in COSTS:
        way = FITS[cost.name]
        costs[cost.name] = float(f"{way.compute(times):.4g}")
        if costs[cost.name] > cost.maximum:
            raise EngineError(f"{cost.name} came out at {costs[cost.name]:g} ns: time it again")
        sources[cost.name] = _source(way, times, where)
    return Preset(name, summary, CostTable(**costs), sources)


def _source(way: Fit, times: Times, where: Environment) -> str:
    if not way.probes:
        return f"Not timed: {way.how}."
    parts = ", ".join(f"{probe} {times[probe]:.4g} ns" for probe in way.probes)
    how = f" ({way.how})" if way.how else ""
    return f"Timed on {where.cpu}, {where.kernel}: {parts}{how}."
