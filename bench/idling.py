"""What idles and is timed: the core alone, and in a whole machine. `bench.peer` has Unicorn's."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter

import x86core
from bench.engines import EngineError
from bench.loops import CODE_ADDRESS, RAM_SIZE, STACK_TOP, image
from vmm import Machine, Outcome

_PROGRAM = "mwait"


class IdleCore:
    """`x86core.VCPU.run` over and over on a guest that does nothing but MWAIT."""

    def __init__(self) -> None:
        memory = x86core.Memory(RAM_SIZE)
        memory.write(0, image(_PROGRAM))
        self._vcpu = x86core.VCPU(memory)
        self._vcpu.userspace_exits = x86core.USERSPACE_EXIT_MWAIT

    def exits(self, count: int) -> float:
        """Enter the guest and come back so often; the seconds that it took."""
        self._vcpu.start_flat32(CODE_ADDRESS, STACK_TOP)
        self._vcpu.ebx = count
        run, expected = self._vcpu.run, x86core.EXIT_MWAIT
        start = perf_counter()
        for _ in repeat(None, count):
            if run() != expected:
                raise EngineError("x86core came back for something else than MWAIT")
        seconds = perf_counter() - start
        if self._vcpu.ebx != 1:  # the last MWAIT has not been counted down
            raise EngineError("x86core came back for an MWAIT that the guest did not do")
        return seconds


class IdleMachine:
    """The same guest in `vmm.Machine.run`: each exit is counted, dispatched, and looks for work."""

    def exits(self, count: int) -> float:
        """Run a machine whose guest idles so often; the seconds that it took.

        Raises KeyboardInterrupt after Ctrl-C.
        """
        machine = Machine(RAM_SIZE, idle="exit")
        machine.memory.write(0, image(_PROGRAM))
        machine.vcpus[0].start_flat32(CODE_ADDRESS, STACK_TOP)
        machine.vcpus[0].ebx = count
        result = machine.run()
        if result.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        exits = result.vcpus[0].exits.get("EXIT_MWAIT", 0)
        if result.outcome is not Outcome.EXIT_PORT or exits != count:
            raise EngineError(
                f"{exits:,} exits on MWAIT instead of {count:,}: {result.explanation}"
            )
        return result.wall_seconds
