"""The real-time clock: time in all its codes, updates, alarms, periodic interrupts, memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.devices.support import MILLISECOND, SECOND, Wire
from vmm.clock import VirtualClock
from vmm.devices import RTC, Ports

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM = range(6)
WEEKDAY, DAY, MONTH, YEAR, A, B, C, D = range(6, 14)
CENTURY = 0x32
SET, PIE, AIE, UIE, BINARY, HOURS_24 = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
UIP = 0x80
MIB = 1 << 20

#: Wednesday, the last second of a leap February, so that everything is about to change.
EPOCH = datetime(2012, 2, 29, 23, 59, 58, tzinfo=UTC)


class Board:
    def __init__(self, epoch: datetime = EPOCH, memory: int = 16 * MIB) -> None:
        self.clock = VirtualClock(epoch=epoch)
        self.irq = Wire()
        self.rtc = RTC(self.clock, self.irq, memory)
        self.ports = Ports()
        self.ports.attach(self.rtc)

    def read(self, register: int) -> int:
        self.ports.write(0x70, 1, register)
        return self.ports.read(0x71, 1)

    def write(self, register: int, value: int) -> None:
        self.ports.write(0x70, 1, register)
        self.ports.write(0x71, 1, value)

    def pass_(self, nanoseconds: int) -> None:
        self.clock.advance(self.clock.now() + nanoseconds)

    def time(self) -> tuple[int, ...]:
        return tuple(
            self.read(each) for each in (YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS)
        )


def test_the_time_of_the_clock_in_bcd_and_24_hours() -> None:
    board = Board()
    assert board.time() == (0x12, 0x02, 0x29, 4, 0x23, 0x59, 0x58)
    assert board.read(CENTURY) == 0x20
    assert board.read(B) == HOURS_24
    assert board.read(D) == 0x80
    board.pass_(2 * SECOND)
    assert board.time() == (0x12, 0x03, 0x01, 5, 0, 0, 0)


def test_seconds_begin_where_those_of_the_calendar_do() -> None:
    board = Board(EPOCH + timedelta(milliseconds=700))
    board.pass_(299 * MILLISECOND)
    assert board.read(SECONDS) == 0x58
    board.pass_(1 * MILLISECOND)
    assert board.read(SECONDS) == 0x59


@pytest.mark.parametrize(
    ("coding", "hour", "shown"),
    [
        (HOURS_24, 17, 0x17),
        (HOURS_24 | BINARY, 17, 17),
        (0, 0, 0x12),
        (0, 11, 0x11),
        (0, 12, 0x92),
        (0, 23, 0x91),
        (BINARY, 0, 12),
        (BINARY, 13, 0x81),
        (BINARY, 23, 0x8B),
    ],
)
def test_hours_in_every_code(coding: int, hour: int, shown: int) -> None:
    """Changing the code converts nothing; the guest stores the time anew."""
    board = Board()
    board.write(B, SET | coding)
    before = (hour - 1) % 24
    twelve = (before - 1) % 12 + 1 if not coding & HOURS_24 else before
    stored = twelve if coding & BINARY else int(str(twelve), 16)
    board.write(HOURS, stored | (0x80 if before >= 12 and not coding & HOURS_24 else 0))
    for register, value in ((MINUTES, 59), (SECONDS, 59)):
        board.write(register, value if coding & BINARY else 0x59)
    board.write(B, coding)
    board.pass_(SECOND)
    assert (board.read(HOURS), board.read(MINUTES), board.read(SECONDS)) == (shown, 0, 0)


def test_set_stops_updates_and_the_update_interrupt() -> None:
    board = Board()
    board.write(B, UIE | HOURS_24)
    board.write(B, SET | UIE | HOURS_24)
    assert board.read(B) == SET | HOURS_24, "SET clears UIE"
    board.pass_(10 * SECOND)
    assert board.read(SECONDS) == 0x58
    assert not board.read(C) & UF
    board.write(SECONDS, 0x30)
    board.write(B, HOURS_24)
    board.pass_(1 * SECOND)
    assert board.read(SECONDS) == 0x31


def test_an_update_is_announced() -> None:
    """For 244 us the registers may be read although UIP is up; while it is down they may be."""
    board = Board()
    assert not board.read(A) & UIP
    board.pass_(SECOND - 2_300_000)
    assert not board.read(A) & UIP
    board.pass_(100_000)
    assert board.read(A) & UIP
    board.pass_(2_200_000)
    assert not board.read(A) & UIP
    assert board.read(SECONDS) == 0x59


def test_the_update_interrupt() -> None:
    board = Board()
    board.write(B, UIE | HOURS_24)
    board.pass_(SECOND - 1)
    assert not board.irq.up()
    board.pass_(1)
    assert board.irq.up()
    board.pass_(5 * SECOND)
    assert board.irq.rises == 1, "until register C is read"
    assert board.read(C) & (IRQF | UF) == IRQF | UF
    assert board.read(C) == 0
    assert not board.irq.up()
    board.pass_(SECOND)
    assert board.irq.rises == 2


def test_flags_rise_whether_enabled_or_not() -> None:
    board = Board()
    board.pass_(SECOND)
    assert board.read(C) == UF | PF
    assert board.irq.rises == 0


@pytest.mark.parametrize(
    ("alarm", "after"),
    [
        ((0x00, 0x00, 0x05), 7),
        ((0xFF, 0xFF, 0xFF), 1),
        ((0xC0, 0xC0, 0x00), 2),
        ((0xFF, 0x01, 0xC0), 62),
        ((0xFF, 0x01, 0x07), 69),
        ((0x01, 0xFF, 0xFF), 3602),
        ((0x23, 0x59, 0x58), 86_400),
    ],
)
def test_alarms(alarm: tuple[int, int, int], after: int) -> None:
    board = Board()
    for register, value in zip((HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM), alarm, strict=True):
        board.write(register, value)
    board.write(B, AIE | HOURS_24)
    board.pass_(after * SECOND - 1)
    assert not board.irq.up()
    board.pass_(1)
    assert board.irq.up()
    assert board.read(C) & (IRQF | AF) == IRQF | AF


@pytest.mark.parametrize("alarm", [(0x24, 0xFF, 0xFF), (0xFF, 0x7F, 0xFF), (0xFF, 0xFF, 0x0A)])
def test_an_alarm_that_is_no_time_never_comes(alarm: tuple[int, int, int]) -> None:
    board = Board()
    for register, value in zip((HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM), alarm, strict=True):
        board.write(register, value)
    board.pass_(3 * 86_400 * SECOND)
    assert not board.read(C) & AF


def test_the_flag_of_an_alarm_that_passed_long_ago() -> None:
    board = Board()
    board.write(HOURS_ALARM, 0x12)
    board.write(MINUTES_ALARM, 0x34)
    board.write(SECONDS_ALARM, 0x56)
    board.pass_(12 * 3600 * SECOND)
    assert not board.read(C) & AF
    board.pass_(3600 * SECOND)
    assert board.read(C) & AF
    board.pass_(10 * 86_400 * SECOND)
    assert board.read(C) & AF


@pytest.mark.parametrize(
    ("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (4, 4096), (6, 1024), (13, 8), (15, 2)]
)
def test_periodic_interrupts(rate: int, hertz: int) -> None:
    board = Board()
    board.write(A, 0x20 | rate)
    board.write(B, PIE | HOURS_24)
    for number in range(1, 4):
        board.clock.advance(-(-number * SECOND // hertz) - 1)
        assert not board.irq.up()
        board.pass_(1)
        assert board.irq.up()
        assert board.read(C) & (IRQF | PF) == IRQF | PF


def test_rate_0_is_none() -> None:
    board = Board()
    board.write(A, 0x20)
    board.write(B, PIE | HOURS_24)
    board.pass_(10 * SECOND)
    assert board.irq.rises == 0
    assert not board.read(C) & PF


def test_a_divider_in_reset_stops_and_begins_anew() -> None:
    board = Board()
    board.write(A, 0x70)
    board.pass_(10 * SECOND + 123)
    assert board.read(SECONDS) == 0x58
    assert not board.read(A) & UIP
    board.write(A, 0x26)
    board.pass_(SECOND // 2 - 1)
    assert board.read(SECONDS) == 0x58
    board.pass_(1)
    assert board.read(SECONDS) == 0x59


def test_what_cannot_be_written() -> None:
    board = Board()
    board.write(A, 0xA6)
    assert board.read(A) == 0x26
    board.write(C, 0xFF)
    board.write(D, 0xFF)
    assert (board.read(C), board.read(D)) == (0, 0x80)
    assert board.ports.read(0x70, 1) == 0xFF


def test_bit_7_of_the_index_is_another_matter() -> None:
    board = Board()
    assert board.read(0x80 | SECONDS) == 0x58


def test_memory_keeps_its_bytes() -> None:
    board = Board()
    for register in range(0x0E, 0x80):
        board.write(register, register ^ 0xA5)
    board.pass_(100 * SECOND)
    assert [board.read(each) for each in range(0x0E, 0x80)] == [
        each ^ 0xA5 for each in range(0x0E, 0x80)
    ]


@pytest.mark.parametrize(
    ("memory", "base", "extended", "above"),
    [
        (64 << 10, 64, 0, 0),
        (640 << 10, 640, 0, 0),
        (MIB, 640, 0, 0),
        (16 * MIB, 640, 15 << 10, 0),
        (256 * MIB, 640, 0xFFFF, 240 * 16),
    ],
)
def test_firmware_has_noted_the_memory(memory: int, base: int, extended: int, above: int) -> None:
    board = Board(memory=memory)

    def word(register: int) -> int:
        return board.read(register) | board.read(register + 1) << 8

    assert (word(0x15), word(0x17), word(0x30), word(0x34)) == (base, extended, extended, above)
    checksum = sum(board.read(each) for each in range(0x10, 0x2E)) & 0xFFFF
    assert board.read(0x2E) << 8 | board.read(0x2F) == checksum


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 100_000 * SECOND)),
        max_size=30,
    )
)
def test_no_programming_raises(steps: list[tuple[int, int, int]]) -> None:
    board = Board()
    for register, value, nanoseconds in steps:
        board.write(register, value)
        board.pass_(nanoseconds)
        assert 0 <= board.read(register) <= 0xFF


@settings(deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 30)), st.integers(0, 86_400))
def test_the_calendar_is_pythons(start: datetime, seconds: int) -> None:
    begin = start.replace(microsecond=0, tzinfo=UTC)
    board, reference = Board(begin), Board(begin + timedelta(seconds=seconds))
    board.pass_(seconds * SECOND)
    assert board.time() == reference.time()


def test_its_state_is_whole() -> None:
    first, second = Board(), Board(datetime(2040, 5, 6, tzinfo=UTC))
    first.write(B, PIE | UIE | HOURS_24)
    first.write(0x50, 0x99)
    first.pass_(123_456_789)
    first.read(C)
    second.pass_(123_456_789)
    second.rtc.restore(first.rtc.save())
    for board in (first, second):
        board.pass_(SECOND)
    assert first.time() == second.time()
    assert first.read(0x50) == second.read(0x50) == 0x99
    assert first.read(C) == second.read(C)
    assert second.irq.up() == first.irq.up()
