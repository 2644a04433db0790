"""The interval timer of a PC: an Intel 8254 at 40h-43h, and port 61h, which shares its counter 2.

Counter 0 is IRQ 0, counter 1 timed the refresh of memory, counter 2 is the speaker's tone. They
begin as firmware leaves them: 18.2 Hz, 15 us, and silent.
Source: Intel 8254 data sheet; IBM PC/AT Technical Reference for port 61h.
"""

from __future__ import annotations

from vmm.clock import Clock
from vmm.devices.line import Line
from vmm.devices.pit_counter import Counter
from vmm.devices.ports import OPEN_BUS
from vmm.devices.saved import MOST_TIME, Saved, State, limits

PIT_IRQ = 0

_CONTROL_WORD = 0x43
_SYSTEM_CONTROL = 0x61

#: CLK is 105/88 MHz, a twelfth of the PC's crystal: so many pulses in so many ns.
_PULSES, _NANOSECONDS = 105, 88_000

#: Control words and counts of the three counters at the start: modes 3, 2 and 3.
_FIRMWARE = ((0x36, 0), (0x54, 18), (0xB6, 0))

#: Bits of port 61h: GATE 2, and all that can be written; what is read above.
_GATE_2 = 0x01
_WRITABLE = 0x0F
_REFRESH_SHIFT, _OUT_2_SHIFT = 4, 5


class PIT(Saved):
    """`irq` is driven with counter 0's OUT."""

    ports = (*range(0x40, 0x44), _SYSTEM_CONTROL)

    saved = ("_counters", "_system_control", "_rises_seen")
    most = limits(_rises_seen=MOST_TIME)

    def __init__(self, clock: Clock, irq: Line) -> None:
        self._clock = clock
        self._irq = irq
        self._timer = clock.timer(self._settle)
        self._counters = [Counter(gate=True), Counter(gate=True), Counter(gate=False)]
        self._system_control = 0
        self._rises_seen = 0
        for number, (control, count) in enumerate(_FIRMWARE):
            counter = self._counter(number)
            counter.set_control(control)
            counter.write(count)
            if control & 0x30 == 0x30:
                counter.write(count >> 8)
        self._settle()

    def read(self, port: int) -> int:
        """A byte of a counter, or port 61h. The control word cannot be read."""
        if port == _SYSTEM_CONTROL:
            refresh = self._counter(1).rises & 1
            out_2 = self._counter(2).out
            return self._system_control | refresh << _REFRESH_SHIFT | out_2 << _OUT_2_SHIFT
        if port == _CONTROL_WORD:
            return OPEN_BUS
        return self._counter(port & 3).read()

    def write(self, port: int, value: int) -> None:
        """A byte of a count, a control word or command, or port 61h."""
        if port == _SYSTEM_CONTROL:
            self._system_control = value & _WRITABLE
            self._counter(2).set_gate(bool(value & _GATE_2))
        elif port == _CONTROL_WORD:
            self._command(value)
        else:
            self._counter(port & 3).write(value)
        self._settle()

    def save(self) -> State:
        """The state, with every counter as it is now."""
        for number in range(3):
            self._counter(number)
        return super().save()

    def restored(self) -> None:
        """Set the timer of the state taken over."""
        self._settle()

    def _command(self, value: int) -> None:
        selected = value >> 6
        if selected == 3:  # read back: the counters by bit, and what to latch by bits that are 0
            for number in range(3):
                if value >> number & 2:
                    counter = self._counter(number)
                    if not value & 0x20:
                        counter.latch_count()
                    if not value & 0x10:
                        counter.latch_status()
        elif value & 0x30:
            self._counter(selected).set_control(value)
        else:
            self._counter(selected).latch_count()

    def _counter(self, number: int) -> Counter:
        """A counter as it is now."""
        counter = self._counters[number]
        counter.advance(self._clock.now() * _PULSES // _NANOSECONDS)
        return counter

    def _settle(self) -> None:
        """Drive the interrupt line, and come back when OUT 0 changes by itself."""
        counter = self._counter(0)
        if counter.rises != self._rises_seen:
            self._rises_seen = counter.rises
            self._irq(False)  # however late, an edge it was, also where OUT was low for a pulse
        self._irq(counter.out)
        edge = counter.next_edge()
        if edge is None:
            self._timer.cancel()
        else:
            self._timer.at(-(-edge * _NANOSECONDS // _PULSES))
