"""The diagnostic port of a PC: firmware and tests of processors say there how far they are.

On a PC it is 80h, where a card shows the power-on self-test (POST) codes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vmm.devices.ports import OPEN_BUS

#: What is kept of the codes.
_KEPT = 4096


class PostCodes:
    """OUT shows a code: `show` is given each, and `codes` has the last 4,096. As on a card there is
    nothing to be read.

    Raises ValueError when there is no such port.
    """

    def __init__(self, port: int, show: Callable[[int], object] | None = None) -> None:
        if not 0 <= port <= 0xFFFF:
            raise ValueError(f"port {port:#x} is not in 0..0xffff")
        self.ports = range(port, port + 1)
        self.codes: deque[int] = deque(maxlen=_KEPT)
        self._show = show

    def read(self, port: int) -> int:
        """All ones, as where there is no device."""
        return OPEN_BUS

    def write(self, port: int, value: int) -> None:
        """Show a code."""
        self.codes.append(value)
        if self._show is not None:
            self._show(value)
