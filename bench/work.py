"""What deferred work costs a guest, and what it waits for: all executors beside no work at all.

The *idle* guest is the pair: one vCPU idles in MWAIT, the other wakes it by a store every
millisecond and tells how late that was noticed. The *noisy* guest is one vCPU that never idles.
Either has its VMM get a short task now and then, and the idle one long work of low priority too,
which would fill any time that there is.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from bench.engines import EngineError
from bench.pair import MEMORY_SIZE, WAITER, Pair
from bench.periodic import Periodic
from vmm import EXECUTORS, Machine, Outcome, Priority, Result, assemble
from vmm.asm import BOOT_ADDRESS

#: No deferred work: what the others are held against.
NONE: Final = "none"

#: Ways to idle under which work differs: MWAIT leaves the guest anyway, or sleeps in the core.
POLICIES: Final = ("exit", "fault")

_WAKE_INTERVAL_NS = 1_000_000

#: What a short task checks, and a step of the long one: some 10 us.
_SHORT, _STEP = bytes(16 << 10), bytes(8 << 10)

_NOISY_GUEST = ".intel_syntax noprefix\n.code16\nl: jmp l\n"


@dataclass(frozen=True, slots=True)
class Settings:
    """How long each row is measured, and how many short tasks a second arrive."""

    seconds: float = 2.0
    tasks_per_second: float = 500.0


@dataclass(frozen=True, slots=True)
class Row:
    """A guest under an executor. Times are ns; None where there is nothing to measure.

    `wake`: from the waking store until the guest has seen it. `task`: from a short task's
    submission to its end. `held`: how long a vCPU was kept out of its guest at a time.
    `work_share` is the time of all work over that of the run, `guest_mips` the instructions of the
    vCPU that idles, or never does. `bound_ns` is the fallback, `slice_ns` the longest slice.
    """

    guest: str
    policy: str
    executor: str
    wakes: int
    wake_p50_ns: int | None
    wake_p99_ns: int | None
    wake_max_ns: int | None
    tasks: int
    task_p50_ns: int | None
    task_p99_ns: int | None
    task_max_ns: int | None
    held_p50_ns: int | None
    held_p99_ns: int | None
    held_max_ns: int | None
    work_share: float
    guest_mips: float
    bound_ns: int
    slice_ns: int


def run(settings: Settings, executors: Sequence[str] = tuple(EXECUTORS)) -> Iterator[Row]:
    """Every row, as soon as it is measured. Raises EngineError when a guest goes wrong."""
    for policy in POLICIES:
        for executor in (NONE, *executors):
            yield measure_idle(policy, executor, settings)
    for executor in (NONE, *executors):
        yield measure_noisy(executor, settings)


def long_work() -> Generator[None, int, None]:
    """Never ends, and yields often."""
    while True:
        zlib.crc32(_STEP)
        yield


def measure_idle(policy: str, executor: str, settings: Settings) -> Row:
    """The pair, which idles and is woken."""
    work = "vcpu" if executor == NONE else executor
    machine = Machine.load("pair", memory=MEMORY_SIZE, vcpus=2, idle=policy, work=work)
    pair = Pair(machine.memory)
    pair.configure(_WAKE_INTERVAL_NS)
    if executor != NONE:
        machine.work.submit(long_work, "long work", priority=Priority.LOW)
    result = _run(machine, executor, settings)
    latencies = pair.latencies_ns()
    if not len(latencies):
        raise EngineError(f"executor {executor}, policy {policy}: the guest was never woken")
    return _row(machine, "idle", policy, executor, result, latencies)


def measure_noisy(executor: str, settings: Settings) -> Row:
    """A guest that never idles."""
    machine = Machine(memory="1M", work="vcpu" if executor == NONE else executor)
    machine.memory.write(BOOT_ADDRESS, assemble(_NOISY_GUEST))
    machine.vcpus[0].start_real_mode()
    result = _run(machine, executor, settings)
    return _row(machine, "noisy", "-", executor, result)


def _run(machine: Machine, executor: str, settings: Settings) -> Result:
    with ExitStack() as helpers:
        if executor != NONE:
            submit = partial(machine.work.submit, partial(zlib.crc32, _SHORT), "checksum")
            period = 1 / settings.tasks_per_second
            helpers.enter_context(Periodic(submit, period, "deferred work"))
        result = machine.run(timeout=settings.seconds)
    if result.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if result.outcome is not Outcome.TIMEOUT:
        raise EngineError(f"executor {executor}: {result.explanation}")
    return result


def _row(
    machine: Machine,
    guest: str,
    policy: str,
    executor: str,
    result: Result,
    latencies: np.ndarray[tuple[int], np.dtype[np.uint32]] | None = None,
) -> Row:
    work, seconds = result.work, result.wall_seconds
    wakes = (None, None, None) if latencies is None else np.percentile(latencies, (50, 99, 100))
    wake_p50, wake_p99, wake_max = (None if ns is None else int(ns) for ns in wakes)
    return Row(
        guest=guest,
        policy=policy,
        executor=executor,
        wakes=0 if latencies is None else len(latencies),
        wake_p50_ns=wake_p50,
        wake_p99_ns=wake_p99,
        wake_max_ns=wake_max,
        tasks=work.done,
        task_p50_ns=work.latency_p50_ns if work.done else None,
        task_p99_ns=work.latency_p99_ns if work.done else None,
        task_max_ns=work.latency_max_ns if work.done else None,
        held_p50_ns=work.held_p50_ns if work.slices else None,
        held_p99_ns=work.held_p99_ns if work.slices else None,
        held_max_ns=work.held_max_ns if work.slices else None,
        work_share=work.busy_ns / 1e9 / seconds,
        guest_mips=result.vcpus[WAITER].instructions / 1e6 / seconds,
        bound_ns=int(machine.work.bound_seconds * 1e9),
        slice_ns=int(machine.work.wake_bound_seconds * 1e9),
    )
