"""What goes on beside the guest: deferred tasks that arrive, and a device that writes."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from time import monotonic_ns, perf_counter_ns
from typing import Final

from bench.laboratory.mailbox import WAKE_VECTOR
from bench.laboratory.policies import Policy
from bench.laboratory.scenario import DeferredLoad, HostWrites, Load
from bench.laboratory.wall.running import Running
from bench.periodic import Periodic
from vmm.work import Executor

#: What work is done on: a checksum over so much data, or less of it. zlib lets go of the
#: interpreter meanwhile, so that the vCPUs' threads need not wait for it.
_DATA: Final = bytes(1 << 20)

#: How often the rate of the checksum is tried; the best counts, since the others were interrupted.
_TRIALS: Final = 20
_TRIAL_BYTES: Final = 64 << 10


class Tasks:
    """Deferred tasks for a machine, at a steady rate. `latencies_ns` are those of the ones done,
    from the submission to the end, in the order in which they ended.
    """

    def __init__(self, work: Executor, load: DeferredLoad) -> None:
        self.latencies_ns: list[int] = []
        self._work = work
        self._step_bytes = round(min(load.step_ns, load.task_ns) * _bytes_per_ns())
        self._steps = max(1, round(load.task_ns / load.step_ns))

    def submit(self) -> None:
        """Have one more done."""
        submitted_ns = monotonic_ns()

        def single_step() -> None:
            _check(self._step_bytes)
            self._done(submitted_ns)

        def steps() -> Generator[None, int, None]:
            for step in range(self._steps):
                if step:
                    yield
                _check(self._step_bytes)
            self._done(submitted_ns)

        self._work.submit(single_step if self._steps == 1 else steps(), "task")

    def _done(self, submitted_ns: int) -> None:
        self.latencies_ns.append(monotonic_ns() - submitted_ns)


class Device:
    """Writes into the ring of a guest; one that idles in HLT gets an interrupt for it."""

    def __init__(self, running: Running, load: HostWrites, policy: Policy) -> None:
        self._running = running
        self._bytes = load.ring_bytes
        self._interrupts = policy.idle_by_hlt

    def write(self) -> None:
        """Write one entry. It is dropped when the ring is full."""
        machine = self._running.machine
        guest_ns = monotonic_ns() - machine.memory.epoch
        if self._running.mailbox.write_entry(guest_ns, self._bytes) and self._interrupts:
            machine.interrupt(WAKE_VECTOR)


def beside(
    running: Running, load: Load, policy: Policy, tasks: Tasks | None
) -> AbstractContextManager[object]:
    """All that a load wants to go on beside a guest, for as long as the context is open."""
    stack = ExitStack()
    if load.deferred is not None and tasks is not None:
        period = 1 / load.deferred.per_second
        stack.enter_context(Periodic(tasks.submit, period, "deferred work"))
    if load.host_writes is not None:
        device = Device(running, load.host_writes, policy)
        period = load.host_writes.interval_ns / 1e9
        stack.enter_context(Periodic(device.write, period, "device"))
    return stack


def _check(size: int) -> None:
    """Do the work of a checksum over so many bytes."""
    data = memoryview(_DATA)
    while size > 0:
        zlib.crc32(data[:size])
        size -= len(_DATA)


@cache
def _bytes_per_ns() -> float:
    """How fast this host makes checksums when nobody interrupts it."""
    best = 1 << 62
    for _ in range(_TRIALS):
        start = perf_counter_ns()
        _check(_TRIAL_BYTES)
        best = min(best, perf_counter_ns() - start)
    return _TRIAL_BYTES / max(1, best)
