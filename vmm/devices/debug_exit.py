"""The exit port: a guest ends its machine and says how it went, as with QEMU's `isa-debug-exit`."""

from __future__ import annotations

DEBUG_EXIT_PORT = 0xF4


class GuestExit(Exception):  # noqa: N818 - like SystemExit it is a request, not an error
    """The guest asked for the end of its machine; raised into the loop of the vCPU that asked."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DebugExit:
    """OUT of a byte ends the machine with that code; IN gives 0, as in QEMU."""

    ports = range(DEBUG_EXIT_PORT, DEBUG_EXIT_PORT + 1)

    def read(self, port: int) -> int:
        """Nothing is there to be read."""
        return 0

    def write(self, port: int, value: int) -> None:
        """End the machine: raises GuestExit with the byte."""
        raise GuestExit(value)
