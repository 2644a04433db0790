"""The vCPUs of a machine on host threads, one each, in wall time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from math import inf
from time import perf_counter, thread_time

from vmm import kvm
from vmm.board import Board
from vmm.ending import Ending
from vmm.gdb import Debugger
from vmm.halted import all_halted
from vmm.loop import Loop
from vmm.result import Outcome
from vmm.work import Executor

#: How often it is looked whether all vCPUs have halted for good.
_CHECK_SECONDS = 0.02


class Threads:
    """Runs `loops`, and `helpers` beside them: whatever else has threads while the machine runs.

    `threads` are those of the vCPUs, once it runs, and `cpu_seconds` what each of them has used.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        work: Executor,
        helpers: Sequence[AbstractContextManager[object]],
        board: Board,
        end: Ending,
    ) -> None:
        self._loops = loops
        self._work = work
        self._helpers = [*helpers]
        self._board = board
        self._end = end
        self._debugger: Debugger | None = None
        self._go = threading.Event()
        self.cpu_seconds = [0.0] * len(loops)
        self.threads: tuple[threading.Thread, ...] = ()

    def attach(self, debugger: Debugger) -> None:
        """What it holds has not come to its end."""
        self._debugger = debugger
        self._helpers.append(debugger)

    def run(self, timeout: float | None, max_instructions: int) -> None:
        """Until the machine ends; all threads are gone then."""
        self.threads = tuple(
            threading.Thread(
                target=self._run_vcpu,
                args=(loop, max_instructions),
                name=f"vCPU {index}",
                daemon=True,
            )
            for index, loop in enumerate(self._loops)
        )
        try:
            with ExitStack() as stack:
                stack.enter_context(self._work)
                for helper in self._helpers:
                    stack.enter_context(helper)
                for thread in self.threads:
                    thread.start()
                self._go.set()
                self._supervise(timeout)
        except KeyboardInterrupt:
            self._end(Outcome.INTERRUPTED, "stopped by Ctrl-C")
        finally:
            self._go.set()
            for loop, thread in zip(self._loops, self.threads, strict=True):
                loop.stop()
                if thread.ident is not None:
                    thread.join()

    def stop(self) -> None:
        """Let every loop return. From any thread."""
        for loop in self._loops:
            loop.stop()

    def _run_vcpu(self, loop: Loop, max_instructions: int) -> None:
        """A vCPU's thread. None enters the guest before all are there: they would be starved."""
        self._go.wait()
        left = max_instructions - loop.vcpu.instructions
        try:
            if max_instructions and left <= 0:
                loop.handle(kvm.KVM_EXIT_LIMIT)
            else:
                loop.run(left if max_instructions else 0)
        except BaseException as failure:  # it belongs to the caller of `Machine.run`
            self._end(Outcome.INTERNAL_ERROR, "the VMM failed", failure=failure)
        finally:
            self.cpu_seconds[loop.vcpu.index] = thread_time()

    def _supervise(self, timeout: float | None) -> None:
        """Wait until the machine ends, and end it when it can do nothing more or takes too long."""
        deadline = inf if timeout is None else perf_counter() + timeout
        ended = self._end.ended
        while not ended.wait(min(_CHECK_SECONDS, max(0, deadline - perf_counter()))):
            if perf_counter() >= deadline:
                self._end(Outcome.TIMEOUT, f"still running after {timeout:g} s")
            elif self.all_halted():
                self._end(Outcome.ALL_HALTED, "every started vCPU is halted with interrupts off")

    def all_halted(self) -> bool:
        """Whether no vCPU will ever do anything again, nor the VMM for them."""
        if len(self._work) or self._board.may_wake_halted:
            return False
        if self._debugger is not None and self._debugger.holds:
            return False
        return all_halted([loop.vcpu for loop in self._loops])
