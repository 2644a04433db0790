"""A machine that runs on a thread of its own while others measure it."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import clock_gettime_ns, perf_counter
from types import TracebackType
from typing import Final, Self

from bench.laboratory.guest import install
from bench.laboratory.mailbox import MEMORY_SIZE, STOP_VECTOR
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.policies import Policy
from bench.laboratory.scenario import Load
from vmm import Machine, Outcome, Result

#: How long a guest may take to begin, and to end once it is told to. Only a host that is very busy,
#: or a guest that has gone wrong, takes more than milliseconds.
_PATIENCE_SECONDS: Final = 60.0

_POLL_SECONDS: Final = 0.0005


class Running:
    """A machine with a guest of the laboratory, which runs while used as a context manager.

    `what` names the run in messages. On entry every vCPU is through with its preparations. On exit
    all of its threads are gone. Raises LaboratoryError when the guest goes wrong, or ends by
    itself; what an exception in the VMM was comes out as it is.
    """

    def __init__(
        self, what: str, guest: str, load: Load, policy: Policy, executor: str, seed: int = 0
    ) -> None:
        self.machine = Machine(
            MEMORY_SIZE, load.vcpus, policy.mwait, policy.hlt, work=executor, devices="none"
        )
        self.mailbox = install(
            self.machine.memory, self.machine.vcpus, guest, load, policy, seed=seed
        )
        self._what = what
        self._thread = threading.Thread(target=self._run, name=f"machine: {what}", daemon=True)
        self._ended = threading.Event()
        self._result: Result | None = None
        self._failure: BaseException | None = None
        self._cpu_clocks: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        others = set(threading.enumerate())
        self._thread.start()
        try:
            deadline = perf_counter() + _PATIENCE_SECONDS
            while not self.mailbox.all_started:
                if perf_counter() > deadline:
                    raise LaboratoryError(f"{self._what}: the guest does not begin")
                self.wait(_POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        # All threads of the machine have begun before a vCPU enters its guest.
        own = set(threading.enumerate()) - others
        self._cpu_clocks = tuple(_cpu_clock(thread) for thread in own if thread.native_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if error is None:
            self._check()

    def wait(self, seconds: float) -> None:
        """Let it run for so long. Raises LaboratoryError when it ends meanwhile."""
        if self._ended.wait(seconds):
            self._check()
            assert self._result is not None
            raise LaboratoryError(f"{self._what}: {self._result.explanation}")

    def cpu_ns(self) -> int:
        """Host CPU time that its threads have used so far, those of workers included."""
        total = 0
        for clock in self._cpu_clocks:
            with suppress(OSError):  # the thread has ended, and `wait` says so
                total += clock_gettime_ns(clock)
        return total

    def _run(self) -> None:
        try:
            self._result = self.machine.run()
        except BaseException as failure:  # it belongs to whoever opened the context
            self._failure = failure
        finally:
            self._ended.set()

    def _stop(self) -> None:
        """End the machine, and wait until it has."""
        self.machine.interrupt(STOP_VECTOR)
        if not self._ended.wait(_PATIENCE_SECONDS):
            self.machine.fail(LaboratoryError(f"{self._what}: the guest does not end when told to"))
        self._thread.join()

    def _check(self) -> None:
        """Raises what went wrong, if anything did."""
        if self._failure is not None:
            raise self._failure
        result = self._result
        assert result is not None
        if result.outcome is not Outcome.EXIT_PORT or result.exit_code != 0:
            raise LaboratoryError(f"{self._what}: {result.explanation}")


def _cpu_clock(thread: threading.Thread) -> int:
    """The clock of a thread's CPU time, as the kernel numbers it: MAKE_THREAD_CPUCLOCK in Linux,
    include/linux/posix-timers.h. Unlike pthread_getcpuclockid it may outlive the thread: then
    reading it is an OSError.
    """
    assert thread.native_id is not None
    return ~thread.native_id << 3 | 6
