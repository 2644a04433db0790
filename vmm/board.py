"""What a machine has beside memory and vCPUs, and what it does about their exits to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from vmm.clock import Clock, WallClock
from vmm.console import Console
from vmm.devices import PC, DebugConsole, DebugExit, MemoryMap, Message, Ports
from x86core import VCPU

#: Sets of devices: the debug console and the exit port alone, or with them those of a PC.
DEVICES_CHOICES = ("none", "pc")


class Board:
    """The debug console and the exit port; with `add_pc` all that `vmm.devices.pc` has.

    `vcpu` is the one at which the 8259A pair interrupts. `output` gets what the guest prints.

    While the machine runs the board is used as a context manager: a wall clock serves deadlines
    then, and a console sends its input.
    """

    def __init__(self, clock: Clock, vcpu: VCPU, output: Callable[[bytes], object]) -> None:
        self.clock = clock
        self.ports = Ports(clock.lock)
        self.memory_map = MemoryMap(clock.lock)
        self.pc: PC | None = None
        self._vcpu = vcpu
        self._output = output
        self._console: Console | None = None
        self._running = ExitStack()
        self.ports.attach(DebugConsole(output))
        self.ports.attach(DebugExit())

    def add_pc(self, console: Console | None, leave: Callable[[], object]) -> None:
        """Add the devices of a PC, once.

        What the guest sends at the serial port is printed, and `console` is told of it. `leave` is
        for whom at the console wants the machine to end.

        Raises ValueError when a device of one's own is in the way.
        """
        self.pc = PC(
            self.clock,
            self.ports,
            self.memory_map,
            self._vcpu,
            output=self._send if console else self._output,
            deliver=self._deliver,
        )
        self._console = console
        if console is not None:
            console.connect(self.pc.serial.receive, leave)

    @property
    def may_wake_halted(self) -> bool:
        """Whether a device may reach vCPUs that are in HLT with interrupts off."""
        return self.pc is not None and self.pc.reaches_masked

    def __enter__(self) -> Self:
        with ExitStack() as running:
            if self.pc is not None and isinstance(self.clock, WallClock):
                running.enter_context(self.clock)
            if self._console is not None:
                running.enter_context(self._console)
            self._running = running.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()

    def _send(self, data: bytes) -> None:
        self._output(data)
        assert self._console is not None
        self._console.write(data)

    def _deliver(self, message: Message) -> bool:
        return self._vcpu.memory.signal_msi(message.address, message.data) > 0
