"""Numbers as a reader wants them: few digits, with a unit."""

from __future__ import annotations

#: What stands where there was nothing to measure.
NOTHING = "-"


def count(value: float | None) -> str:
    """A number of things; with a fraction below 100, in millions from ten millions up."""
    if value is None:
        return NOTHING
    if value >= 10_000_000:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:,.1f}"


def rounded(value: float | None) -> str:
    """A number of things in at most seven characters: from a million up with three digits."""
    if value is None or value < 1_000_000:
        return count(value)
    millions = value / 1e6
    digits = 0 if millions >= 100 else 1 if millions >= 10 else 2
    return f"{millions:,.{digits}f} M"


def duration(nanoseconds: float | None) -> str:
    """A time with three digits in ns, µs, ms or s."""
    if nanoseconds is None:
        return NOTHING
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            return f"{value:.{digits}f} {unit}"
    return f"{nanoseconds:.0f} ns"


def share(value: float) -> str:
    """A part of a whole in percent."""
    return f"{value:.1%}"
