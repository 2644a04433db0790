"""The interrupt controllers of a PC: two Intel 8259A, the slave at IR 2 of the master.

The lines' trigger modes are those of the ELCR, ports 4D0h and 4D1h (Intel 82371SB data sheet).
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.devices.pic_chip import Chip
from vmm.devices.ports import OPEN_BUS
from vmm.devices.saved import Saved

#: Where the slave's INT goes.
CASCADE = 2

_ELCR = 0x4D0
#: Lines that the ELCR can make level-triggered: not the timer, keyboard, cascade, RTC and FPU.
_ELCR_WRITABLE = (0xF8, 0xDE)


class PIC(Saved):
    """IRQs 0 to 15. `output` is told whenever INTR, the master's output, changes."""

    ports = (0x20, 0x21, 0xA0, 0xA1, _ELCR, _ELCR + 1)

    saved = ("intr", "_chips")

    def __init__(self, output: Callable[[bool], object]) -> None:
        #: Whether the processor is asked to take an interrupt.
        self.intr = False
        self._output = output
        self._master = Chip(self._set_intr, master=True)
        self._slave = Chip(self._set_cascade, master=False)
        self._chips = [self._master, self._slave]

    def set_line(self, irq: int, asserted: bool) -> None:
        """Drive one of the lines 0 to 15; number 2 is the cascade's."""
        self._chips[irq >> 3].set_line(irq & 7, asserted)

    def acknowledge(self) -> int:
        """The processor's INTA cycles: the vector that it gets. The request is in service then.

        When it has been withdrawn, that is the vector of IR 7 of the chip, which is not put in
        service.
        """
        level = self._master.acknowledge()
        if not self._master.has_slave(level):
            return self._master.base | level
        # Of the slaves the one whose identity is on the cascade lines answers.
        if not self._slave.is_slave(level):
            return OPEN_BUS
        return self._slave.base | self._slave.acknowledge()

    def read(self, port: int) -> int:
        """IRR, ISR, the mask, the answer to a poll, or the ELCR."""
        if port >= _ELCR:
            return self._chips[port - _ELCR].level_triggered
        return self._chips[port >> 7].read(port & 1)

    def write(self, port: int, value: int) -> None:
        """An initialization or operation command word, or the ELCR."""
        if port >= _ELCR:
            number = port - _ELCR
            self._chips[number].set_level_triggered(value & _ELCR_WRITABLE[number])
        else:
            self._chips[port >> 7].write(port & 1, value)

    def restored(self) -> None:
        """Tell the processor of the state taken over."""
        self._output(self.intr)

    def _set_cascade(self, level: bool) -> None:
        self._master.set_line(CASCADE, level)

    def _set_intr(self, level: bool) -> None:
        if level != self.intr:
            self.intr = level
            self._output(level)
