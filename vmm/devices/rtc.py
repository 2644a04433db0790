"""The real-time clock of a PC and its battery-backed memory: a Motorola MC146818 at 70h and 71h.

The oscillator is the PC's of 32,768 Hz. Time is the host's or the virtual clock's, in UTC.
Source: MC146818 data sheet; IBM PC/AT Technical Reference for the bytes that firmware keeps.
"""

from __future__ import annotations

from datetime import timedelta

from vmm.clock import NANOSECONDS, Clock
from vmm.devices import rtc_calendar as calendar
from vmm.devices.line import Line
from vmm.devices.ports import OPEN_BUS
from vmm.devices.saved import MOST_TIME, Saved, State, limits

RTC_IRQ = 8

_INDEX, _DATA = 0x70, 0x71

_A, _B, _C, _D = 0x0A, 0x0B, 0x0C, 0x0D

# Register A: update in progress, the divider's setting for this oscillator, the periodic rate.
_UPDATING = 0x80
_DIVIDER, _DIVIDER_RUNS = 0x70, 0x20
_RATE = 0x0F

# Register B; the enable bits stand where the flags of register C do.
_SET = 0x80
_PERIODIC, _ALARM, _UPDATE = 0x40, 0x20, 0x10
_INTERRUPTS = _PERIODIC | _ALARM | _UPDATE

_INTERRUPT_REQUEST = 0x80  # register C
_VALID = 0x80  # register D: the battery is good

_OSCILLATOR = 32_768

#: How long before the end of an update its bit is up: 244 us of warning, 1984 us of updating.
_UPDATE_WARNING = 2_228_000

# What firmware keeps in the memory.
_EQUIPMENT = 0x14
_BASE_MEMORY, _EXTENDED_MEMORY, _EXTENDED_MEMORY_FOUND = 0x15, 0x17, 0x30
_CHECKED, _CHECKSUM = range(0x10, 0x2E), 0x2E
_CENTURY = 0x32
_MEMORY_ABOVE_16M = 0x34

_KIB, _64_KIB = 1 << 10, 1 << 16
_BASE_KIB = 640


class RTC(Saved):
    """`irq` is driven with the interrupt request, `memory` is the size of RAM in bytes."""

    ports = (_INDEX, _DATA)

    saved = ("_index", "_ram", "_flags", "_origin", "_seconds", "_periods")
    most = limits(_index=0x7F, _origin=-MOST_TIME, _seconds=MOST_TIME, _periods=MOST_TIME)

    def __init__(self, clock: Clock, irq: Line, memory: int) -> None:
        self._clock = clock
        self._irq = irq
        self._timer = clock.timer(self._tick)
        self._index = 0
        self._ram = [0] * 128
        self._ram[_A] = _DIVIDER_RUNS | 6
        self._ram[_B] = calendar.HOURS_24
        self._ram[_D] = _VALID
        self._flags = 0
        time = clock.epoch + timedelta(microseconds=clock.now() // 1000)
        calendar.set_time(self._ram, time, self._ram[_B])
        self._fill_memory(memory, time.year // 100)
        #: Guest time of one of the moments at which a second begins; what has passed since.
        self._origin = clock.now() - time.microsecond * 1000
        self._seconds = 0
        self._periods = 0

    def read(self, port: int) -> int:
        """The selected byte. Reading register C takes its flags back."""
        if port == _INDEX:
            return OPEN_BUS
        self._catch_up()
        if self._index == _A:
            return self._ram[_A] | (_UPDATING if self._is_updating else 0)
        if self._index != _C:
            return self._ram[self._index]
        flags = self._flags | (_INTERRUPT_REQUEST if self._flags & self._enabled else 0)
        self._flags = 0
        self._settle()
        return flags

    def write(self, port: int, value: int) -> None:
        """Select a byte, or write to it. Bit 7 of the selection, NMI's mask, has no effect."""
        if port == _INDEX:
            self._index = value & 0x7F
            return
        self._catch_up()
        if self._index == _A:
            self._write_a(value & 0x7F)
        elif self._index == _B:
            self._ram[_B] = value & ~_UPDATE if value & _SET else value
        elif self._index not in (_C, _D):
            self._ram[self._index] = value
        self._settle()

    def save(self) -> State:
        """The state as it is now."""
        self._catch_up()
        return super().save()

    def restored(self) -> None:
        """Set the timer of the state taken over."""
        self._settle()

    @property
    def _enabled(self) -> int:
        return self._ram[_B] & _INTERRUPTS

    @property
    def _runs(self) -> bool:
        """Whether the divider does: its other settings are for other oscillators, and reset."""
        return self._ram[_A] & _DIVIDER == _DIVIDER_RUNS

    @property
    def _is_updating(self) -> bool:
        left = self._second_at(self._seconds + 1) - self._clock.now()
        return self._runs and not self._ram[_B] & _SET and left <= _UPDATE_WARNING

    def _second_at(self, second: int) -> int:
        return self._origin + second * NANOSECONDS

    @property
    def _period(self) -> int:
        """Oscillations between two periodic interrupts, 0 for none."""
        rate = self._ram[_A] & _RATE
        return 1 << (rate + 6 if rate < 3 else rate - 1) if rate else 0

    def _elapsed_periods(self) -> int:
        oscillations = (self._clock.now() - self._origin) * _OSCILLATOR // NANOSECONDS
        return oscillations // self._period if self._period else 0

    def _catch_up(self) -> None:
        """Do what has been due since the last time, however long that is."""
        if not self._runs:
            return
        seconds = (self._clock.now() - self._origin) // NANOSECONDS - self._seconds
        if seconds > 0:
            self._seconds += seconds
            if not self._ram[_B] & _SET:
                self._pass(seconds)
        periods = self._elapsed_periods()
        if periods > self._periods:
            self._periods = periods
            self._flags |= _PERIODIC

    def _pass(self, seconds: int) -> None:
        coding = self._ram[_B]
        if not self._flags & _ALARM and calendar.alarm_within(self._ram, seconds, coding):
            self._flags |= _ALARM
        calendar.advance(self._ram, seconds, coding)
        self._flags |= _UPDATE

    def _write_a(self, value: int) -> None:
        ran = self._runs
        self._ram[_A] = value
        if self._runs and not ran:  # the first update comes half a second after the reset
            self._origin = self._clock.now() - NANOSECONDS // 2
            self._seconds = 0
        self._periods = self._elapsed_periods()

    def _tick(self) -> None:
        self._catch_up()
        self._settle()

    def _settle(self) -> None:
        """Drive the interrupt line; while it is low, come back when that may change."""
        requested = bool(self._flags & self._enabled)
        self._irq(requested)
        due = [] if requested or not self._runs else [*self._next_events()]
        if due:
            self._timer.at(min(due))
        else:
            self._timer.cancel()

    def _next_events(self) -> list[int]:
        events = []
        if self._enabled & (_UPDATE | _ALARM) and not self._ram[_B] & _SET:
            events.append(self._second_at(self._seconds + 1))
        if self._enabled & _PERIODIC and self._period:
            oscillations = (self._periods + 1) * self._period
            events.append(self._origin - (-oscillations * NANOSECONDS // _OSCILLATOR))
        return events

    def _fill_memory(self, memory: int, century: int) -> None:
        extended = min(max(memory // _KIB - 1024, 0), 0xFFFF)
        above_16m = min(max(memory - (16 << 20), 0) // _64_KIB, 0xFFFF)
        self._store_word(_BASE_MEMORY, min(memory // _KIB, _BASE_KIB))
        self._store_word(_EXTENDED_MEMORY, extended)
        self._store_word(_EXTENDED_MEMORY_FOUND, extended)
        self._store_word(_MEMORY_ABOVE_16M, above_16m)
        self._ram[_CENTURY] = calendar.encode(century, 0)
        checksum = sum(self._ram[each] for each in _CHECKED)
        self._ram[_CHECKSUM : _CHECKSUM + 2] = checksum.to_bytes(2, "big")

    def _store_word(self, index: int, value: int) -> None:
        self._ram[index : index + 2] = value.to_bytes(2, "little")
