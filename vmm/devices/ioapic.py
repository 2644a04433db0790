"""The I/O APIC of a PC: an Intel 82093AA, which makes messages to local APICs of 24 lines.

Source: Intel 82093AA data sheet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vmm.devices.saved import Saved, limits

IOAPIC_ADDRESS = 0xFEC00000
LINES = 24

#: Offsets in its page.
_SELECT, _WINDOW = 0x00, 0x10

#: Registers in the window: the redirection table has two for each line.
_ID, _VERSION, _ARBITRATION, _TABLE = 0, 1, 2, 0x10
_VERSION_VALUE = (LINES - 1) << 16 | 0x11

#: Redirection table entry.
_MASKED = 1 << 16
_LEVEL = 1 << 15
_REMOTE_IRR = 1 << 14
_ACTIVE_LOW = 1 << 13
_LOGICAL = 1 << 11
_READ_ONLY = _REMOTE_IRR | 1 << 12
_RESERVED = 0x00FF_FFFF_FFFE_0000

#: Where messages to local APICs go.
_MESSAGES = 0xFEE00000

#: Delivery modes. The first two are ended by an EOI; the others are edges whatever the entry says.
FIXED, LOWEST_PRIORITY, SMI, NMI, INIT, EXTINT = 0, 1, 2, 4, 5, 7


class Message(NamedTuple):
    """What local APICs are sent: for whom, and what. `mode` is the delivery mode."""

    destination: int
    logical: bool
    mode: int
    vector: int
    level: bool

    @property
    def address(self) -> int:
        """Where it is stored as a message-signalled interrupt (SDM vol. 3, 11.11)."""
        return _MESSAGES | self.destination << 12 | self.logical << 2

    @property
    def data(self) -> int:
        """What is stored there. All are asserted: the end of a level is no message."""
        return self.level << 15 | 1 << 14 | self.mode << 8 | self.vector


class IOAPIC(Saved):
    """`deliver` is given each message, and says whether a local APIC has accepted it. They tell of
    EOIs by `end_of_interrupt`.
    """

    region = range(IOAPIC_ADDRESS, IOAPIC_ADDRESS + 0x1000)

    saved = ("_id", "_arbitration_id", "_select", "_lines", "_table")
    most = limits(_id=0xF, _arbitration_id=0xF, _lines=(1 << LINES) - 1, _table=(1 << 64) - 1)

    def __init__(self, deliver: Callable[[Message], bool]) -> None:
        self._deliver = deliver
        self._id = 0
        self._arbitration_id = 0
        self._select = 0
        self._lines = 0
        self._table = [_MASKED] * LINES

    @property
    def reaches_masked(self) -> bool:
        """Whether a line is to send what no processor can hold off: NMI or INIT."""
        return any(not entry & _MASKED and _mode(entry) in (NMI, INIT) for entry in self._table)

    def set_line(self, line: int, asserted: bool) -> None:
        """Drive an input, high for asserted."""
        if asserted == bool(self._lines >> line & 1):
            return
        self._lines ^= 1 << line
        entry = self._table[line]
        if _is_level(entry):
            self._send_level(line)
        elif self._is_active(line) and not entry & _MASKED:
            self._send(entry)

    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC has ended a level. If its line is still active, it is sent again."""
        for line, entry in enumerate(self._table):
            if entry & _REMOTE_IRR and entry & 0xFF == vector:
                self._table[line] &= ~_REMOTE_IRR
                self._send_level(line)

    def load(self, offset: int, size: int) -> int:
        """Part of a register; 0 where there is none."""
        if offset < _SELECT + 4:
            value = self._select
        elif _WINDOW <= offset < _WINDOW + 4:
            value = self._read_register()
        else:
            value = 0
        return value >> 8 * (offset & 3) & ((1 << 8 * size) - 1)

    def store(self, offset: int, size: int, value: int) -> None:
        """A store at the first byte of a register; anywhere else nothing happens."""
        if offset == _SELECT:
            self._select = value & 0xFF
        elif offset == _WINDOW:
            self._write_register(value)

    def _read_register(self) -> int:
        if self._select == _ID:
            return self._id << 24
        if self._select == _VERSION:
            return _VERSION_VALUE
        if self._select == _ARBITRATION:
            return self._arbitration_id << 24
        line = self._selected_line
        return 0 if line is None else self._table[line] >> self._shift & 0xFFFF_FFFF

    def _write_register(self, value: int) -> None:
        line = self._selected_line
        if self._select == _ID:
            self._id = self._arbitration_id = value >> 24 & 0xF
        elif line is not None:
            self._write_entry(line, value)

    def _write_entry(self, line: int, value: int) -> None:
        """Half an entry. Made an edge for a moment, a level that was sent counts as ended."""
        keep = ~(0xFFFF_FFFF << self._shift) | _READ_ONLY
        entry = self._table[line] & keep | value << self._shift & ~keep & ~_RESERVED
        if not _is_level(entry):
            entry &= ~_REMOTE_IRR
        self._table[line] = entry
        if _is_level(entry):
            self._send_level(line)

    @property
    def _selected_line(self) -> int | None:
        line = (self._select - _TABLE) // 2
        return line if 0 <= line < LINES else None

    @property
    def _shift(self) -> int:
        """Where the selected half is in its entry."""
        return 32 * (self._select & 1)

    def _is_active(self, line: int) -> bool:
        return bool(self._lines >> line & 1) != bool(self._table[line] & _ACTIVE_LOW)

    def _send_level(self, line: int) -> None:
        """Send the level of a line unless it is masked, or the last one has not been ended yet."""
        entry = self._table[line]
        if self._is_active(line) and not entry & (_MASKED | _REMOTE_IRR):
            # Before it is sent: its end may be told while it is. One that nobody takes has none.
            self._table[line] |= _REMOTE_IRR
            if not self._send(entry):
                self._table[line] &= ~_REMOTE_IRR

    def _send(self, entry: int) -> bool:
        return self._deliver(
            Message(
                destination=entry >> 56,
                logical=bool(entry & _LOGICAL),
                mode=_mode(entry),
                vector=entry & 0xFF,
                level=_is_level(entry),
            )
        )


def _mode(entry: int) -> int:
    return entry >> 8 & 7


def _is_level(entry: int) -> bool:
    return bool(entry & _LEVEL) and _mode(entry) in (FIXED, LOWEST_PRIORITY)
