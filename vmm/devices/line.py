"""A wire from a device to an interrupt controller."""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    """Called with the level that the device drives, whether it has changed or not."""

    def __call__(self, asserted: bool, /) -> None:
        """Drive the line."""
