"""The vCPUs of a machine in turn on one host thread, in virtual time: every run is alike.

Nothing of the host's decides when something happens: guest time is that of instructions, devices
have a `VirtualClock` that follows it, and deferred work is done between two rounds, when some vCPU
is idle or the work does not wait for that. An exit is handled at its very instruction, at the time
of the vCPU that left. Only what ends the run may come from outside, and it does so between two
turns.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import thread_time

from vmm.board import Board
from vmm.clock import VirtualClock
from vmm.ending import Ending, is_halted_for_good, is_not_started
from vmm.loop import Loop
from vmm.result import Outcome
from vmm.work import Executor
from x86core import EXIT_IDLE, EXIT_LIMIT, Lockstep

#: Guest time that never comes, in ns.
_NEVER = 1 << 60

#: How much guest time passes between two slices of work, in ns.
_BETWEEN_SLICES = 400_000


class InTurn:
    """Runs the vCPUs of `loops` in turns of `turn` instructions, and `clock` with them.

    `turns` knows whose turn it is. `cpu_seconds` is what the host thread has used, all of it under
    the first vCPU's number, since nobody can tell whose it was. Raises ValueError for a turn that
    is not in 1..2**30.
    """

    def __init__(
        self,
        loops: Sequence[Loop],
        work: Executor,
        clock: VirtualClock,
        board: Board,
        end: Ending,
        turn: int,
    ) -> None:
        self._loops = {loop.vcpu: loop for loop in loops}
        self._work = work
        self._clock = clock
        self._board = board
        self._end = end
        self._served_at = -_BETWEEN_SLICES
        self.turns = Lockstep([loop.vcpu for loop in loops], turn)
        self.cpu_seconds = [0.0] * len(loops)
        self.threads: tuple[threading.Thread, ...] = ()

    def run(self, timeout: float | None, max_instructions: int) -> None:
        """Until the machine ends. `timeout` is in seconds of the host's: a safety, no measure."""
        self.turns.max_instructions = max_instructions
        began = thread_time()
        try:
            with self._ended_by_signal(), self._ended_by_timeout(timeout):
                while not self._end.ended.is_set():
                    self._go_on()
        except Exception as failure:
            self._end(Outcome.INTERNAL_ERROR, "the VMM failed", failure=failure)
        finally:
            self.cpu_seconds[0] = thread_time() - began

    def stop(self) -> None:
        """Let `run` return between two turns. From any thread."""
        self.turns.stop()

    def _go_on(self) -> None:
        """To the next exit, or the next thing that the VMM has to do."""
        deadline = self._clock.next_deadline
        until = _NEVER if deadline is None else deadline
        if len(self._work):
            until = min(until, self._next_slice())
        vcpu, reason = self.turns.run(min(max(until, 0), _NEVER))
        # A vCPU that left in the middle of a round may be behind another one that did so before.
        self._clock.advance(max(self.turns.now, self._clock.now()))
        if vcpu is not None:
            self._loops[vcpu].handle(reason)
        elif reason == EXIT_IDLE:
            self._all_wait()
        elif self.turns.time >= _NEVER:
            self._end(Outcome.INTERNAL_ERROR, "guest time has reached its end")
        elif reason == EXIT_LIMIT and len(self._work):
            self._serve()

    def _next_slice(self) -> int:
        """When there is to be another slice of work, in guest time."""
        at = self._served_at + _BETWEEN_SLICES
        due = self._work.next_due
        return at if due is None or due <= self._served_at else min(at, due)

    def _all_wait(self) -> None:
        """Nothing in the core will ever happen by itself."""
        deadline = self._clock.next_deadline
        over = all(is_not_started(vcpu) or is_halted_for_good(vcpu) for vcpu in self._loops)
        if len(self._work):
            # What the work costs passes, or work without end would keep the next deadline away.
            until = _NEVER if deadline is None else max(self.turns.time, deadline)
            self.turns.time = min(self.turns.time + self._serve(), until)
            self._clock.advance(max(self.turns.time, self._clock.now()))
        elif over and not self._board.may_wake_halted:
            self._end(Outcome.ALL_HALTED, "every started vCPU is halted with interrupts off")
        elif deadline is None:
            self._end(Outcome.ALL_HALTED, "every vCPU waits, and nothing is ahead that wakes one")
        else:
            self.turns.time = max(deadline, self.turns.time)
            self._clock.advance(self.turns.time)

    def _serve(self) -> int:
        """Do a slice of work between two rounds; the ns that it is said to cost."""
        self._served_at = self.turns.time
        now = max(self._served_at, self._clock.now())
        return self._work.serve(now, any(loop.asleep for loop in self._loops.values()))

    # What the executor of work wants of a server. It gets the whole machine: only between two
    # rounds is there time for work.

    asleep = woken = False

    def request_attention(self) -> None:
        """Look at the queue between this round and the next. From any thread."""
        self.turns.stop()

    def kick(self) -> None:
        """The same."""
        self.turns.stop()

    @contextmanager
    def _ended_by_timeout(self, timeout: float | None) -> Iterator[None]:
        if timeout is None:
            yield
            return
        message = f"still running after {timeout:g} s"
        timer = threading.Timer(timeout, self._end, (Outcome.TIMEOUT, message))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    @contextmanager
    def _ended_by_signal(self) -> Iterator[None]:
        """Ctrl-C ends the run between two turns, and breaks into nothing.

        Only the main thread gets signals; where somebody else handles SIGINT, it is theirs.
        """
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        ):
            yield
            return

        def interrupted(number: int, frame: object) -> None:
            self._end(Outcome.INTERRUPTED, "stopped by Ctrl-C")

        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
