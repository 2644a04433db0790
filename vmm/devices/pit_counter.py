"""One counter of an Intel 8254, in terms of its CLK pulses.

Nothing is done at a pulse: `advance` works out in constant time what has happened by then.
Source: Intel 8254 data sheet, "Mode Definitions" and "Operation Common to All Modes".
"""

from __future__ import annotations

from vmm.devices.saved import MOST_TIME, Saved, limits

#: RW bits of a control word: which bytes of a count are written and read.
_LOW_BYTE, _HIGH_BYTE, _BOTH_BYTES = 1, 2, 3

#: The modes by the data sheet's names.
_TERMINAL_COUNT, _ONE_SHOT, _RATE, _SQUARE_WAVE, _SOFTWARE_STROBE, _HARDWARE_STROBE = range(6)

_TRIGGERED = (_ONE_SHOT, _HARDWARE_STROBE)
_PERIODIC = (_RATE, _SQUARE_WAVE)
_STROBES = (_SOFTWARE_STROBE, _HARDWARE_STROBE)


class Counter(Saved):
    """A counter with its GATE and OUT. `out` is OUT's level, `rises` how often it has gone high.

    All but `advance` happens at the pulse that the counter was advanced to. A count of 1, which is
    illegal in modes 2 and 3, stops it there.
    """

    saved = (
        "_pulse",
        "_control",
        "_gate",
        "_count_register",
        "_low_byte",
        "_written",
        "_null_count",
        "_loading",
        "_running",
        "_suspended",
        "_expired",
        "_value",
        "_odd",
        "_reads_high",
        "_latched_count",
        "_latched_status",
        "out",
        "rises",
    )
    most = limits(
        _pulse=MOST_TIME,
        _control=0x3F,
        _count_register=0xFFFF,
        _value=-(1 << 17),
        _latched_count=0xFFFF,
        rises=MOST_TIME,
    )
    optional = frozenset({"_low_byte", "_latched_count", "_latched_status"})

    def __init__(self, gate: bool) -> None:
        self._pulse = 0
        self._control = _BOTH_BYTES << 4  # RW1, RW0, M2, M1, M0 and BCD, as written
        self._gate = gate
        self._count_register = 0
        self._low_byte: int | None = None  # of a count whose high byte is still to come
        self._written = False  # a count, since the control word
        self._null_count = True  # it is not in the counting element yet
        self._loading = False  # the next pulse moves it there
        self._running = False  # the counting element has been loaded since the control word
        self._suspended = False  # mode 0, between the two bytes of a count
        self._expired = False  # has been at 0 since it was loaded: nothing more comes of it
        self._value = 0  # of the counting element, as a number; 0 stands for the modulus
        self._odd = False  # mode 3: this half began with an odd count
        self._reads_high = False  # the next byte read is the second of a pair
        self._latched_count: int | None = None
        self._latched_status: int | None = None
        self.out = False
        self.rises = 0

    # The processor's side.

    def set_control(self, control: int) -> None:
        """A control word for this counter, of which the low six bits count."""
        self._control = control & 0x3F
        self._low_byte = self._latched_count = self._latched_status = None
        self._written = self._loading = self._running = self._suspended = False
        self._reads_high = False
        self._null_count = True
        self._set_out(self._mode != _TERMINAL_COUNT)

    def write(self, byte: int) -> None:
        """The next byte of a count."""
        access = self._control >> 4
        if access == _LOW_BYTE:
            self._set_count(byte)
        elif access == _HIGH_BYTE:
            self._set_count(byte << 8)
        elif self._low_byte is None:
            self._low_byte = byte
            if self._mode == _TERMINAL_COUNT:
                self._suspended = True
                self._set_out(False)
        else:
            self._set_count(byte << 8 | self._low_byte)
            self._low_byte = None

    def read(self) -> int:
        """The next byte: of the latched status, of the latched count, or of the count as it is."""
        if self._latched_status is not None:
            status, self._latched_status = self._latched_status, None
            return status
        count = self._encoded if self._latched_count is None else self._latched_count
        access = self._control >> 4
        high = access == _HIGH_BYTE or (access == _BOTH_BYTES and self._reads_high)
        self._reads_high = access == _BOTH_BYTES and not high
        if not self._reads_high:
            self._latched_count = None
        return count >> 8 if high else count & 0xFF

    def latch_count(self) -> None:
        """Keep the count until it is read, unless one is kept already."""
        if self._latched_count is None:
            self._latched_count = self._encoded

    def latch_status(self) -> None:
        """Keep the status until it is read, unless one is kept already."""
        if self._latched_status is None:
            self._latched_status = self.out << 7 | self._null_count << 6 | self._control

    def set_gate(self, level: bool) -> None:
        """Drive GATE: a level in modes 0 and 4, a trigger in 1 and 5, both in 2 and 3."""
        rises, falls = level and not self._gate, self._gate and not level
        self._gate = level
        if rises and self._written and self._mode in (*_TRIGGERED, *_PERIODIC):
            self._loading = True
        if falls and self._mode in _PERIODIC:
            self._set_out(True)

    # Counting.

    def advance(self, pulse: int) -> None:
        """Let the CLK pulses up to number `pulse` come."""
        if pulse <= self._pulse:
            return
        if self._mode in _STROBES:
            self._set_out(True)  # a strobe is one pulse long
        if self._loading:
            self._pulse += 1
            self._load()
        pulses = pulse - self._pulse
        self._pulse = pulse
        if not pulses or not self._running or self._stopped:
            return
        if self._mode == _RATE:
            self._count_rate(pulses)
        elif self._mode == _SQUARE_WAVE:
            self._count_square_wave(pulses)
        else:
            self._count_down(pulses)

    def next_edge(self) -> int | None:
        """The pulse of the next edge of OUT that will come by itself, None when there is none.

        Where OUT goes low for one pulse only, that is not an edge, but the end of it is.
        """
        if self._mode in _STROBES and not self.out:
            return self._pulse + 1
        if self._loading:
            begin, value = self._pulse + 1, self._count
        else:
            begin, value = self._pulse, self._value or self._modulus
        if self._mode == _ONE_SHOT and self._loading:
            return begin
        if self._stopped or not (self._loading or (self._running and not self._done)):
            return None
        if self._mode == _SQUARE_WAVE:
            return begin + ((value + 1) // 2 if self._loading else self._half_left)
        return begin + value + (self._mode in _STROBES)

    @property
    def _mode(self) -> int:
        mode = self._control >> 1 & 7
        return mode & 3 if mode > _HARDWARE_STROBE else mode  # M2 has no say in modes 2 and 3

    @property
    def _modulus(self) -> int:
        return 10_000 if self._control & 1 else 0x10000

    @property
    def _count(self) -> int:
        """The count register as a number from 1 to the modulus."""
        count = self._count_register
        if self._control & 1:
            count = sum((count >> 4 * digit & 0xF) * 10**digit for digit in range(4))
        return count % self._modulus or self._modulus

    @property
    def _encoded(self) -> int:
        """The counting element as it is read, in binary or BCD."""
        value = self._value % self._modulus
        return int(str(value), 16) if self._control & 1 else value

    @property
    def _stopped(self) -> bool:
        """Whether pulses are not counted, although the counter has been loaded."""
        if self._mode in _TRIGGERED:
            return False
        illegal = self._mode in _PERIODIC and self._count == 1
        return not self._gate or self._suspended or illegal

    @property
    def _done(self) -> bool:
        """Whether OUT stays as it is until the counter is loaded again."""
        return self._mode not in _PERIODIC and self._expired

    @property
    def _half_left(self) -> int:
        """Mode 3: pulses until OUT changes. With an odd count the high half is one longer."""
        return self._value // 2 + (self._odd and self.out)

    def _set_out(self, level: bool) -> None:
        self.rises += level and not self.out
        self.out = level

    def _set_count(self, count: int) -> None:
        self._count_register = count
        self._written = self._null_count = True
        if self._mode == _TERMINAL_COUNT:
            self._suspended = False
            self._set_out(False)
        if self._mode not in _TRIGGERED and not (self._mode in _PERIODIC and self._running):
            self._loading = True

    def _load(self) -> None:
        """The pulse that moves the count into the counting element, and counts nothing."""
        self._reload()
        self._loading = self._expired = False
        self._running = True
        if self._mode == _ONE_SHOT:
            self._set_out(False)
        elif self._mode in _PERIODIC:
            self._set_out(True)

    def _reload(self) -> None:
        self._value = self._count
        self._null_count = False
        if self._mode == _SQUARE_WAVE:
            self._odd = bool(self._value & 1)
            self._value &= ~1

    def _count_down(self, pulses: int) -> None:
        """Modes 0, 1, 4 and 5: through 0, where OUT changes, and on from the highest count."""
        left = self._value or self._modulus
        if pulses >= left and not self._expired:
            self._expired = True
            self._set_out(self._mode not in _STROBES)
            if pulses > left:
                self._set_out(True)
        self._value = (left - pulses) % self._modulus

    def _count_rate(self, pulses: int) -> None:
        """Mode 2: to 1, where OUT is low for a pulse, and again from the count."""
        if pulses >= self._value:
            pulses -= self._value
            self._reload()
            self._set_out(False)
            self._set_out(True)
            self.rises += pulses // self._value
            pulses %= self._value
        self._value -= pulses
        self._set_out(self._value != 1)

    def _count_square_wave(self, pulses: int) -> None:
        """Mode 3: by twos; OUT changes each time that the count has run out."""
        while pulses >= self._half_left:
            pulses -= self._half_left
            self._reload()
            self._set_out(not self.out)
            self.rises += pulses // self._count
            pulses %= self._count
        self._value -= 2 * pulses
