"""What the tests of devices share: lines that note what is done to them, and CLK pulses."""

from __future__ import annotations

from vmm.clock import NANOSECONDS, VirtualClock

SECOND = NANOSECONDS
MILLISECOND = SECOND // 1000


class Wire:
    """A line: whether it is up, and how often it has risen."""

    def __init__(self) -> None:
        self._level = False
        self.rises = 0

    def __call__(self, asserted: bool, /) -> None:
        self.rises += asserted and not self._level
        self._level = asserted

    def up(self) -> bool:
        return self._level


def pulse_at(pulse: int) -> int:
    """Guest time at which so many pulses of the PIT's 105/88 MHz have come."""
    return -(-pulse * 88_000 // 105)


def advance_pulses(clock: VirtualClock, pulses: int) -> None:
    """Let so many pulses of the PIT's clock pass."""
    clock.advance(pulse_at(clock.now() * 105 // 88_000 + pulses))
