"""A serial port of a PC: a National Semiconductor PC16550D.

The line has no speed: what is sent has left at once, and what comes waits for room, so that
nothing is overrun but a guest that loops back to itself. It waits as well until the guest first
looks for it, lest what initializes the port drops it. The baud rate sets only the receiver's
time-out. The port begins as firmware leaves it: 9,600 baud, eight bits, no parity.
Source: NS PC16550D data sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from vmm.clock import NANOSECONDS, Clock
from vmm.devices.line import Line
from vmm.devices.saved import MOST_TIME, Saved, limits
from vmm.devices.serial_receiver import BREAK, FRAMING, Receiver

COM1, COM1_IRQ = 0x3F8, 4

_TRIGGER_LEVELS = (1, 4, 8, 14)
_BAUD_CLOCK = 1_843_200 // 16
_TIME_OUT_BYTES = 4


class Register(IntEnum):
    """The eight registers. DLAB makes the first two the divisor latch."""

    DATA = 0
    INTERRUPT_ENABLE = 1
    INTERRUPT_IDENTIFICATION = 2  # written, it is FIFO control
    LINE_CONTROL = 3
    MODEM_CONTROL = 4
    LINE_STATUS = 5
    MODEM_STATUS = 6
    SCRATCH = 7


class Interrupt(IntEnum):
    """What the interrupt identification register says."""

    MODEM_STATUS = 0
    NONE = 1
    TRANSMITTER_EMPTY = 2
    DATA_AVAILABLE = 4
    LINE_STATUS = 6
    TIME_OUT = 12


_FIFOS_ENABLED = 0xC0  # above them

# Interrupt enable.
_ENABLE_DATA, _ENABLE_TRANSMITTER, _ENABLE_LINE, _ENABLE_MODEM = 0x01, 0x02, 0x04, 0x08

# FIFO control.
_USE_FIFOS, _CLEAR_RECEIVER = 0x01, 0x02

# Line control.
_DIVISOR_LATCH, _SEND_BREAK, _PARITY, _TWO_STOP_BITS = 0x80, 0x40, 0x08, 0x04

# Modem control.
_DTR, _RTS, _OUT1, _OUT2, _LOOP = 0x01, 0x02, 0x04, 0x08, 0x10

# Line status: the holding register and the shift register, which are always empty.
_TRANSMITTER_EMPTY = 0x60

# Modem status: the lines, and in the low four bits their changes.
_CTS, _DSR, _RI, _DCD = 0x10, 0x20, 0x40, 0x80
_CONNECTED = _CTS | _DSR | _DCD
_LOOPED = {_RTS: _CTS, _DTR: _DSR, _OUT1: _RI, _OUT2: _DCD}
_CHANGES = 0x0F


class Serial(Saved):
    """A UART. `output` gets what the guest sends, a byte at a time; `irq` is its interrupt.

    As in a PC, OUT2 of modem control lets the interrupt out.
    """

    saved = (
        "_divisor",
        "_interrupt_enable",
        "_trigger_level",
        "_line_control",
        "_modem_control",
        "_modem_status",
        "_scratch",
        "_receiver",
        "_listens",
        "_timed_out",
        "_active_at",
        "_emptied",
    )
    most = limits(_divisor=0xFFFF, _trigger_level=14, _active_at=MOST_TIME)

    def __init__(
        self, clock: Clock, irq: Line, output: Callable[[bytes], object], base: int = COM1
    ) -> None:
        self.ports = range(base, base + len(Register))
        self._clock = clock
        self._irq = irq
        self._output = output
        self._timer = clock.timer(self._time_out)
        self._divisor = 12
        self._interrupt_enable = 0
        self._trigger_level = _TRIGGER_LEVELS[0]
        self._line_control = 3
        self._modem_control = 0
        self._modem_status = _CONNECTED
        self._scratch = 0
        self._receiver = Receiver()
        self._listens = False  # the guest has looked for input, or wants to be interrupted by it
        self._timed_out = False
        self._active_at = 0  # guest time at which a byte last came or was read
        self._emptied = False  # the holding register has, and the guest has not been told

    def receive(self, data: bytes) -> int:
        """Send bytes to the guest, from any thread; how many of them there was room for."""
        with self._clock.lock:
            taken = self._receiver.offer(data)
            self._settle()
            return taken

    def read(self, port: int) -> int:
        """A register, with what its reading sets off."""
        register = Register(port & 7)
        if self._line_control & _DIVISOR_LATCH and register <= Register.INTERRUPT_ENABLE:
            return self._divisor >> 8 * register & 0xFF
        if register in (Register.DATA, Register.LINE_STATUS) and not self._loops:
            self._listens = True
            self._settle()
        value = self._value(register)
        match register:
            case Register.DATA:
                value = self._receiver.take()
                self._receiver_is_active()
            case Register.INTERRUPT_IDENTIFICATION:
                if self._interrupt == Interrupt.TRANSMITTER_EMPTY:
                    self._emptied = False
            case Register.LINE_STATUS:
                self._receiver.errors = 0
            case Register.MODEM_STATUS:
                self._modem_status &= ~_CHANGES
        self._settle()
        return value

    def write(self, port: int, value: int) -> None:
        """A register."""
        register = Register(port & 7)
        if self._line_control & _DIVISOR_LATCH and register <= Register.INTERRUPT_ENABLE:
            shift = 8 * register
            self._divisor = self._divisor & ~(0xFF << shift) | value << shift
            return
        match register:
            case Register.DATA:
                self._transmit(value)
            case Register.INTERRUPT_ENABLE:
                if value & ~self._interrupt_enable & _ENABLE_TRANSMITTER:
                    self._emptied = True
                self._interrupt_enable = value & 0x0F
                self._listens |= bool(value & _ENABLE_DATA)
            case Register.INTERRUPT_IDENTIFICATION:
                self._control_fifos(value)
            case Register.LINE_CONTROL:
                was_broken = self._breaks_itself
                self._line_control = value
                self._follow_break(was_broken)
            case Register.MODEM_CONTROL:
                was_broken = self._breaks_itself
                self._modem_control = value & 0x1F
                self._follow_break(was_broken)
                self._follow_modem_lines()
            case Register.SCRATCH:
                self._scratch = value
        self._settle()

    def restored(self) -> None:
        """Set the timer of the state taken over."""
        self._settle()

    def _value(self, register: Register) -> int:
        match register:
            case Register.INTERRUPT_ENABLE:
                return self._interrupt_enable
            case Register.INTERRUPT_IDENTIFICATION:
                return self._interrupt | (_FIFOS_ENABLED if self._receiver.is_fifo else 0)
            case Register.LINE_CONTROL:
                return self._line_control
            case Register.MODEM_CONTROL:
                return self._modem_control
            case Register.LINE_STATUS:
                return self._receiver.status | _TRANSMITTER_EMPTY
            case Register.MODEM_STATUS:
                return self._modem_status
        return self._scratch

    @property
    def _interrupt(self) -> Interrupt:
        """The enabled interrupt of highest priority."""
        enabled = self._interrupt_enable
        if enabled & _ENABLE_LINE and self._receiver.errors:
            return Interrupt.LINE_STATUS
        if enabled & _ENABLE_DATA and len(self._receiver) >= self._trigger_level:
            return Interrupt.DATA_AVAILABLE
        if enabled & _ENABLE_DATA and self._timed_out:
            return Interrupt.TIME_OUT
        if enabled & _ENABLE_TRANSMITTER and self._emptied:
            return Interrupt.TRANSMITTER_EMPTY
        if enabled & _ENABLE_MODEM and self._modem_status & _CHANGES:
            return Interrupt.MODEM_STATUS
        return Interrupt.NONE

    @property
    def _loops(self) -> bool:
        return bool(self._modem_control & _LOOP)

    @property
    def _breaks_itself(self) -> bool:
        return self._loops and bool(self._line_control & _SEND_BREAK)

    @property
    def _data_bits(self) -> int:
        return 5 + (self._line_control & 3)

    @property
    def _time_out_ns(self) -> int:
        """How long four bytes take with their start, parity and stop bits."""
        control = self._line_control
        bits = 2 + self._data_bits + bool(control & _PARITY) + bool(control & _TWO_STOP_BITS)
        divisor = self._divisor or 0x10000
        return _TIME_OUT_BYTES * bits * divisor * NANOSECONDS // _BAUD_CLOCK

    def _receiver_is_active(self) -> None:
        self._active_at = self._clock.now()
        self._timed_out = False

    def _settle(self) -> None:
        """Let in what waits, drive the interrupt line, and set the timer of the time-out."""
        receiver = self._receiver
        if self._listens and not self._loops and receiver.admit():
            self._receiver_is_active()
        self._timed_out &= len(receiver) > 0
        line = self._modem_control & (_OUT2 | _LOOP) == _OUT2
        self._irq(line and self._interrupt != Interrupt.NONE)
        watched = receiver.is_fifo and self._interrupt_enable & _ENABLE_DATA
        if watched and not self._timed_out and 0 < len(receiver) < self._trigger_level:
            self._timer.at(self._active_at + self._time_out_ns)
        else:
            self._timer.cancel()

    def _time_out(self) -> None:
        self._timed_out = True
        self._settle()

    def _transmit(self, byte: int) -> None:
        byte &= (1 << self._data_bits) - 1
        self._emptied = False
        self._settle()
        if self._line_control & _SEND_BREAK:
            pass  # the line stays low, whatever is sent
        elif self._loops:
            self._receiver.put(byte)
            self._receiver_is_active()
        else:
            self._output(bytes([byte]))
        self._emptied = True

    def _control_fifos(self, value: int) -> None:
        """FIFO control, of which the other bits count only together with the first."""
        use = bool(value & _USE_FIFOS)
        if use != self._receiver.is_fifo or (use and value & _CLEAR_RECEIVER):
            self._receiver.clear(use)
            self._timed_out = False
        self._trigger_level = _TRIGGER_LEVELS[value >> 6] if use else _TRIGGER_LEVELS[0]

    def _follow_break(self, was_broken: bool) -> None:
        """A receiver that hears its own break gets one byte of it."""
        if self._breaks_itself and not was_broken:
            self._receiver.put(0, BREAK | FRAMING)
            self._receiver_is_active()

    def _follow_modem_lines(self) -> None:
        lines = _CONNECTED
        if self._loops:
            lines = sum(line for bit, line in _LOOPED.items() if self._modem_control & bit)
        before = self._modem_status & ~_CHANGES
        changed = (before ^ lines) & ~_RI | before & ~lines & _RI  # of RI only the trailing edge
        self._modem_status = lines | changed >> 4 | self._modem_status & _CHANGES
