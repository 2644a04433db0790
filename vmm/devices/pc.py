"""The devices of a PC, and how they are wired.

IRQ n goes to line n of the 8259A pair and to line n of the I/O APIC, but IRQ 0, which there is
line 2, as in most PCs. There are no tables that would tell a guest so, and no firmware to handle
an interrupt: its controllers are as after RESET, not initialized or with everything masked.
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.clock import Clock
from vmm.devices.ioapic import IOAPIC, Message
from vmm.devices.line import Line
from vmm.devices.mmio import MemoryMap
from vmm.devices.pic import PIC
from vmm.devices.pit import PIT, PIT_IRQ
from vmm.devices.ports import Ports
from vmm.devices.reset import FastReset, KeyboardController
from vmm.devices.rtc import RTC, RTC_IRQ
from vmm.devices.saved import Saved
from vmm.devices.serial import COM1_IRQ, Serial
from x86core import VCPU

_TIMER_LINE = 2  # of the I/O APIC


class PC(Saved):
    """What a PC/AT has, attached to `ports` and `memory_map`.

    INTR is wired to `vcpu` as with KVM, when the interrupt controller is the VMM's: while it is up,
    the vCPU is asked for an interrupt window, and when that opens, `open_window` injects. So a
    request that goes away in time is never taken.

    `output` gets what the guest sends at its serial port, `deliver` the messages of the I/O APIC;
    without that there is none.
    """

    saved = ("pic", "ioapic", "pit", "rtc", "serial", "keyboard_controller")

    def __init__(
        self,
        clock: Clock,
        ports: Ports,
        memory_map: MemoryMap,
        vcpu: VCPU,
        *,
        output: Callable[[bytes], object],
        deliver: Callable[[Message], bool] | None = None,
    ) -> None:
        self._clock = clock
        self._vcpu = vcpu
        self.pic = PIC(self._set_intr)
        self.ioapic = None if deliver is None else IOAPIC(deliver)
        # In this order timers with the same deadline are served.
        self.pit = PIT(clock, self._irq(PIT_IRQ))
        self.rtc = RTC(clock, self._irq(RTC_IRQ), vcpu.memory.size)
        self.serial = Serial(clock, self._irq(COM1_IRQ), output)
        self.keyboard_controller = KeyboardController()
        for device in (
            self.pic,
            self.pit,
            self.rtc,
            self.serial,
            self.keyboard_controller,
            FastReset(),
        ):
            ports.attach(device)
        if self.ioapic is not None:
            memory_map.attach(self.ioapic)

    def open_window(self) -> None:
        """The vCPU has left with KVM_EXIT_IRQ_WINDOW_OPEN."""
        with self._clock.lock:
            if self.pic.intr:
                self._vcpu.interrupt(self.pic.acknowledge())

    def end_of_interrupt(self, vector: int) -> None:
        """A vCPU has left with KVM_EXIT_IOAPIC_EOI."""
        with self._clock.lock:
            if self.ioapic is not None:
                self.ioapic.end_of_interrupt(vector)

    @property
    def reaches_masked(self) -> bool:
        """Whether a device may send what no processor can hold off."""
        with self._clock.lock:
            return self.ioapic is not None and self.ioapic.reaches_masked

    def _set_intr(self, asserted: bool) -> None:
        self._vcpu.request_interrupt_window = asserted

    def _irq(self, number: int) -> Line:
        line = _TIMER_LINE if number == PIT_IRQ else number

        def drive(asserted: bool, /) -> None:
            self.pic.set_line(number, asserted)
            if self.ioapic is not None:
                self.ioapic.set_line(line, asserted)

        return drive
