"""The debug console of Bochs and QEMU (`-debugcon`): what a guest writes there is printed."""

from __future__ import annotations

from collections.abc import Callable

DEBUG_CONSOLE_PORT = 0xE9


class DebugConsole:
    """OUT hands the byte to `sink`; IN gives 0xE9, so that a guest can tell it is there."""

    ports = range(DEBUG_CONSOLE_PORT, DEBUG_CONSOLE_PORT + 1)

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink

    def read(self, port: int) -> int:
        """The port number, by which a guest can tell that it is there."""
        return DEBUG_CONSOLE_PORT

    def write(self, port: int, value: int) -> None:
        """Pass the byte to the sink."""
        self._sink(bytes([value]))
