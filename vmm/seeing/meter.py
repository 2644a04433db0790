"""Where the time of each vCPU's host thread goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Final

from vmm import kvm
from vmm.seeing.observer import ObservedLoop, ObservedMachine

#: What a vCPU's thread does, by the names in `Meter.times`. The first six happen in the core.
ACTIVITIES: Final = {
    "guest": "executes the guest",
    "hlt_sleep": "asleep in HLT",
    "hlt_poll": "spins in HLT",
    "mwait_sleep": "asleep in MWAIT",
    "mwait_poll": "spins in MWAIT",
    "start": "waits for INIT or a start-up IPI",
    "hlt_exit": "waits in the VMM after EXIT_HLT",
    "work": "does deferred work",
    "handling": "handles exits, what is named elsewhere left out",
    "loop": "the rest: the VMM's loop, and waits for Python's interpreter lock or a CPU to get it",
}


class _Working(threading.local):
    """How long this thread has done deferred work."""

    nanoseconds = 0


class _Account:
    """What a vCPU's thread has done outside the core, in ns."""

    def __init__(self) -> None:
        self.work = self.handling = self.halted = 0
        self.before: dict[str, int] = {}  # what the core had counted, in a run before this one


class Meter:
    """Measures the vCPUs of a machine while it runs. On an idle exit that is handled in the loop it
    costs the core two looks at the clock, and the loop nothing.
    """

    def __init__(self) -> None:
        self._working = _Working()
        self._accounts: dict[int, _Account] = {}
        self._loops: tuple[ObservedLoop, ...] = ()
        self._virtual = False
        self._began_ns = self._guest_zero = 0
        self._ended_ns: int | None = None
        self._work_ns = 0
        self._lock = threading.Lock()

    @contextmanager
    def watch(self, machine: ObservedMachine) -> Iterator[None]:
        """Measure while inside."""
        self._loops = tuple(machine.loops)
        self._virtual = machine.memory.virtual_time
        for loop in self._loops:
            self._measure(loop)
        machine.work.observers.append(self._worked)
        self._guest_zero = self._guest_time()
        self._began_ns = monotonic_ns()
        try:
            yield
        finally:
            self._ended_ns = monotonic_ns()

    @property
    def wall_ns(self) -> int:
        """How long it has been measured; in virtual time, guest time."""
        if not self._began_ns:
            return 0
        if self._virtual:
            return self._guest_time() - self._guest_zero
        return (monotonic_ns() if self._ended_ns is None else self._ended_ns) - self._began_ns

    @property
    def work_ns(self) -> int:
        """Host time of all deferred work, on whatever thread."""
        return self._work_ns

    def times(self, index: int) -> dict[str, int]:
        """Host time in ns of a vCPU's thread by activity; all of it adds up to the wall time.

        From any thread, also while the machine runs; empty when nothing was measured. In virtual
        time it is guest time, of which the VMM takes none.
        """
        account = self._accounts.get(index)
        if account is None:
            return {}
        wall_ns = self.wall_ns
        now = self._loops[index].vcpu.times
        times = {name: ns - account.before[name] for name, ns in now.items()}
        if self._virtual:
            return dict.fromkeys(ACTIVITIES, 0) | times
        times |= {"hlt_exit": account.halted, "work": account.work, "handling": account.handling}
        return times | {"loop": max(0, wall_ns - sum(times.values()))}

    def _guest_time(self) -> int:
        return max(loop.vcpu.time for loop in self._loops)

    def _measure(self, loop: ObservedLoop) -> None:
        account = self._accounts[loop.vcpu.index] = _Account()
        loop.vcpu.timed = True
        account.before = loop.vcpu.times

        def wrap(reason: int, handler: Callable[[], None]) -> Callable[[], None]:
            waits = reason == kvm.KVM_EXIT_HLT
            working = self._working

            def handle() -> None:
                began_ns, worked_ns = monotonic_ns(), working.nanoseconds
                try:
                    handler()
                finally:
                    work_ns = working.nanoseconds - worked_ns
                    rest_ns = max(0, monotonic_ns() - began_ns - work_ns)
                    account.work += work_ns
                    if waits:
                        account.halted += rest_ns
                    else:
                        account.handling += rest_ns

            return handle

        loop.observe(wrap)

    def _worked(self, name: str, began_ns: int, ended_ns: int) -> None:
        self._working.nanoseconds += ended_ns - began_ns
        with self._lock:
            self._work_ns += ended_ns - began_ns
