"""The ten bytes of an MC146818 that tell the time, and how they go on.

A guest may store what it likes there; what is no date goes on as the nearest one that is.
Source: Motorola MC146818 data sheet, "Time, Calendar, and Alarm Locations".
"""

from __future__ import annotations

from datetime import datetime, timedelta

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM = range(6)
DAY_OF_WEEK, DAY, MONTH, YEAR = range(6, 10)
TIME_REGISTERS = range(10)

#: Bits of register B that say how the bytes are coded.
BINARY = 0x04
HOURS_24 = 0x02

_PM = 0x80
_ANY = 0xC0  # in an alarm byte

_DAY_SECONDS = 24 * 60 * 60

#: Years have two digits, of which the chip knows no century; each fourth is a leap year.
_CENTURY = 2000


def encode(number: int, coding: int) -> int:
    """A number below 100 in BCD or binary."""
    return number if coding & BINARY else int(str(number), 16)


def encode_hour(hour: int, coding: int) -> int:
    """An hour from 0 to 23, with the afternoon's bit where hours are 1 to 12."""
    if coding & HOURS_24:
        return encode(hour, coding)
    return encode((hour - 1) % 12 + 1, coding) | (_PM if hour >= 12 else 0)


def set_time(registers: list[int], time: datetime, coding: int) -> None:
    """Store a time from 2000 to 2099, but for the alarm bytes."""
    registers[SECONDS] = encode(time.second, coding)
    registers[MINUTES] = encode(time.minute, coding)
    registers[HOURS] = encode_hour(time.hour, coding)
    registers[DAY_OF_WEEK] = time.isoweekday() % 7 + 1  # Sunday is 1
    registers[DAY] = encode(time.day, coding)
    registers[MONTH] = encode(time.month, coding)
    registers[YEAR] = encode(time.year % 100, coding)


def advance(registers: list[int], seconds: int, coding: int) -> None:
    """Let so many seconds pass."""
    before = _time(registers, coding)
    weekday = (registers[DAY_OF_WEEK] - 1) % 7
    after = before + timedelta(seconds=seconds)
    set_time(registers, after, coding)
    registers[DAY_OF_WEEK] = (weekday + after.toordinal() - before.toordinal()) % 7 + 1


def alarm_within(registers: list[int], seconds: int, coding: int) -> bool:
    """Whether the alarm bytes are matched at one of the next so many seconds."""
    now = _time(registers, coding)
    first = now.hour * 3600 + now.minute * 60 + now.second + 1
    last = first + min(seconds, _DAY_SECONDS) - 1
    hour, minute, second = (
        registers[HOURS_ALARM],
        registers[MINUTES_ALARM],
        registers[SECONDS_ALARM],
    )
    for start in range(first - first % 60, last + 1, 60):
        if _matches(encode_hour(start // 3600 % 24, coding), hour) and _matches(
            encode(start // 60 % 60, coding), minute
        ):
            matching = range(max(start, first), min(start + 59, last) + 1)
            if any(_matches(encode(each % 60, coding), second) for each in matching):
                return True
    return False


def _matches(value: int, alarm: int) -> bool:
    return alarm & _ANY == _ANY or value == alarm


def _time(registers: list[int], coding: int) -> datetime:
    """The time that the bytes tell, or the nearest one."""

    def number(index: int, least: int, most: int) -> int:
        return min(max(_decode(registers[index], coding), least), most)

    if coding & HOURS_24:
        hour = number(HOURS, 0, 23)
    else:
        twelfth = min(max(_decode(registers[HOURS] & ~_PM, coding), 1), 12)
        hour = twelfth % 12 + (12 if registers[HOURS] & _PM else 0)
    first = datetime(_CENTURY + number(YEAR, 0, 99), number(MONTH, 1, 12), 1, hour)
    month_days = ((first + timedelta(days=31)).replace(day=1) - first).days
    return first.replace(
        day=number(DAY, 1, month_days), minute=number(MINUTES, 0, 59), second=number(SECONDS, 0, 59)
    )


def _decode(byte: int, coding: int) -> int:
    return byte if coding & BINARY else (byte >> 4) * 10 + (byte & 0xF)
