"""The time of the model: SimPy's, in whole ns."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias

from simpy import Environment
from simpy.events import Event, Timeout

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
        delay = time - self._now
        Timeout(self, delay if delay > 0 else 0).callbacks.append(function)
