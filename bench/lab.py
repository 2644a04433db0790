"""The idle laboratory: a vCPU idles in MWAIT, another wakes it by a store; what does it cost?

Measuring only; `bench.lab_report` shows the rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, perf_counter_ns, sleep

import numpy as np

from bench.pair import MEMORY_SIZE, WAITER, Pair
from bench.periodic import Periodic
from bench.starvation import Starvation
from bench.watchdog import Watchdog
from vmm import MWAIT_CHOICES, Machine, Outcome, Result

POLICIES = tuple(MWAIT_CHOICES)

#: The policies that wait until the store triggers the monitor, and so could lose a wake: they have
#: to hand off so often that a rare loss would show.
_COULD_LOSE = ("passthrough", "fault", "adaptive")

#: How often the watchdog looks, and the phase's end is checked. Far below the watchdog's 100 ms.
_LOOK_SECONDS = 0.005

#: A phase that waits for its number of handoffs gives up after so many times its length.
_PATIENCE = 10

#: How long the pair may take to end after it was told to.
_STOP_SECONDS = 5.0

#: The deferred work: a checksum over so much data, some ten microseconds.
_TASK_BYTES = bytes(32 << 10)

#: Told the share of a phase that is done, 0 to 1, while it runs.
OnProgress = Callable[[float], object]


class LabError(RuntimeError):
    """The guests did not do what they are there for; nothing measured can be believed."""


@dataclass(frozen=True, slots=True)
class Phase:
    """When the waker stores: `interval_ns` after the last handoff, but for the first `at_once`."""

    name: str
    interval_ns: int
    at_once: int = 0


BACK_TO_BACK = Phase("back to back", 0)
PACED = Phase("1 ms apart", 1_000_000)

#: The waker rests to the end, and there is no deferred work. A few handoffs before that give
#: `adaptive` a window to poll.
QUIET = Phase("nobody wakes", 0xFFFF_FFFF, at_once=3)

PHASES = (BACK_TO_BACK, PACED, QUIET)

#: The phase has to end before the waker's rest does.
LONGEST_QUIET_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`seconds` for each phase with wakes, `quiet_seconds` for the one without; `handoffs` that the
    policies which could lose a wake make back to back, even if it takes longer; stores beside the
    monitored line before each wake; deferred tasks queued per second.
    """

    seconds: float = 5.0
    quiet_seconds: float = 1.5
    handoffs: int = 100_000
    false_stores: int = 1
    tasks_per_second: float = 200.0


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one phase. Latencies are in ns and None when there was nothing to measure."""

    policy: str
    phase: str
    complete: bool  # False: stopped by Ctrl-C
    seconds: float
    handoffs: int
    handoffs_per_second: float
    wake_latency_p50_ns: int | None
    wake_latency_p99_ns: int | None
    instructions: int  # of the idle vCPU
    instructions_per_handoff: float | None
    idle_cpu_share: float  # CPU time of the idle vCPU's host thread by wall time
    mwait_exits: int
    mwait_sleeps: int
    mwait_polls_attempted: int
    mwait_polls_successful: int
    write_faults: int
    false_faults: int
    spurious_wakes: int
    lost_wakes: int
    tasks_done: int
    task_latency_p50_ns: int | None
    task_latency_p99_ns: int | None


def run(
    policies: Sequence[str], settings: Settings, on_progress: Callable[[str, Phase, float], object]
) -> Iterator[Row]:
    """The rows of the table, each as soon as it is measured.

    Ctrl-C ends the phase under way: its row comes with `complete` False, then KeyboardInterrupt.
    Raises LabError when a guest goes wrong, and ValueError for an unknown policy.
    """
    for policy in policies:
        for phase in PHASES:
            row = measure(policy, phase, settings, partial(on_progress, policy, phase))
            yield row
            if not row.complete:
                raise KeyboardInterrupt


def measure(
    policy: str,
    phase: Phase,
    settings: Settings,
    on_progress: OnProgress = lambda share: None,
    guest: str | Path = "pair",
) -> Row:
    """Run the pair once under a policy. `guest` is `pair.S` or a variant with the same mailbox."""
    machine = Machine.load(guest, memory=MEMORY_SIZE, vcpus=2, idle=policy)
    pair = Pair(machine.memory)
    pair.configure(phase.interval_ns, settings.false_stores, at_once=phase.at_once)
    starved = Starvation(lambda: machine.threads[WAITER].native_id)
    watchdog = Watchdog(machine.loops[WAITER], pair, starved=starved)
    seconds = settings.quiet_seconds if phase is QUIET else settings.seconds
    least = settings.handoffs if policy in _COULD_LOSE and phase is BACK_TO_BACK else 0
    longest = seconds * (_PATIENCE if least else 1)
    start = perf_counter()

    def oversee() -> None:
        watchdog.look(perf_counter_ns())
        elapsed = perf_counter() - start
        shares = [elapsed / seconds]
        if least:
            shares.append(pair.handoffs / least)
        on_progress(min(1.0, *shares))
        if min(shares) >= 1 or elapsed >= longest:
            pair.stop()

    def submit() -> None:
        # Work kicks a sleeping vCPU, and a kick would save a lost wake from being found.
        while watchdog.in_doubt:
            sleep(0.0002)
        machine.work.submit(partial(zlib.crc32, _TASK_BYTES), "checksum")

    with ExitStack() as helpers:
        helpers.enter_context(Periodic(oversee, _LOOK_SECONDS, "overseer"))
        if phase is not QUIET:
            period = 1 / settings.tasks_per_second
            helpers.enter_context(Periodic(submit, period, "deferred work"))
        result = machine.run(timeout=longest + _STOP_SECONDS)
    if result.outcome not in (Outcome.EXIT_PORT, Outcome.INTERRUPTED):
        raise LabError(f"policy {policy}, {phase.name}: {result.explanation}")
    return _row(policy, phase, pair, watchdog.lost, result)


def _row(policy: str, phase: Phase, pair: Pair, lost: int, result: Result) -> Row:
    waiter, handoffs, work = result.vcpus[WAITER], pair.handoffs, result.work
    waits, polled = waiter.stats["mwait_waits"], waiter.stats["mwait_successful_poll"]
    latencies = pair.latencies_ns()
    p50, p99 = np.percentile(latencies, (50, 99)) if handoffs else (None, None)
    return Row(
        policy=policy,
        phase=phase.name,
        complete=result.outcome is Outcome.EXIT_PORT,
        seconds=result.wall_seconds,
        handoffs=handoffs,
        handoffs_per_second=handoffs / result.wall_seconds,
        wake_latency_p50_ns=None if p50 is None else int(p50),
        wake_latency_p99_ns=None if p99 is None else int(p99),
        instructions=waiter.instructions,
        instructions_per_handoff=waiter.instructions / handoffs if handoffs else None,
        idle_cpu_share=waiter.cpu_seconds / result.wall_seconds,
        mwait_exits=waiter.exits.get("EXIT_MWAIT", 0),
        mwait_sleeps=0 if policy == "passthrough" else waits - polled,  # that one holds the core
        mwait_polls_attempted=waiter.stats["mwait_attempted_poll"],
        mwait_polls_successful=polled,
        write_faults=sum(vcpu.stats["write_faults"] for vcpu in result.vcpus),
        false_faults=sum(vcpu.stats["false_faults"] for vcpu in result.vcpus),
        spurious_wakes=pair.spurious,
        lost_wakes=lost,
        tasks_done=work.done,
        task_latency_p50_ns=work.latency_p50_ns if work.done else None,
        task_latency_p99_ns=work.latency_p99_ns if work.done else None,
    )
