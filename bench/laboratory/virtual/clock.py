"""The time of the model: SimPy's, in whole ns."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from simpy import Environment
from simpy.events import NORMAL, Event

#: A process of SimPy, or a part of one that another goes through by `yield from`.
Process: TypeAlias = Generator[Event, Any, None]


class Clock(Environment):
    """Where a model's processes run; its time begins at 0."""

    _now: int

    def __init__(self) -> None:
        super().__init__(0)

    @property
    def now(self) -> int:
        """The time in ns."""
        return self._now

    def call_at(self, time: int, function: Callable[[Event], None]) -> None:
        """Call a function at a time, or now if that is past, with an event that means nothing."""
        now = self._now
        Delay(self, time - now if time > now else 0).callbacks.append(function)


class Delay(Event):
    """SimPy's Timeout, of whole ns that are not negative and without a value: half as dear.

    A large host makes millions of them for a second of its time.
    """

    _ok = True
    _value = None

    def __init__(self, clock: Clock, nanoseconds: int) -> None:
        self.callbacks = []
        clock.schedule(self, NORMAL, nanoseconds)
