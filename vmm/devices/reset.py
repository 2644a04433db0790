"""The ways in which a guest resets its PC: the keyboard controller's line, and port 92h.

Of the keyboard controller, an Intel 8042, there is what leads to the line, but no keyboard.
Source: IBM PC/AT and PS/2 Technical References.
"""

from __future__ import annotations

from vmm.devices.saved import Saved

_DATA, _COMMAND = 0x60, 0x64
FAST_RESET_PORT = 0x92

# Status register.
_OUTPUT_FULL = 0x01
_READY = 0x14  # self-test passed, keyboard not locked

# Commands.
_READ_OUTPUT_PORT, _WRITE_OUTPUT_PORT, _SELF_TEST, _PULSE = 0xD0, 0xD1, 0xAA, 0xF0
_SELF_TEST_PASSED = 0x55

# The output port. Both lines are active low or always on: the core does not mask A20.
_NOT_RESET, _A20 = 0x01, 0x02

_FAST_RESET = 0x01


class GuestReset(Exception):  # noqa: N818 - like SystemExit it is a request, not an error
    """The guest asked for a reset of its machine; raised into the loop of the vCPU that asked."""


class KeyboardController(Saved):
    """Ports 60h and 64h. Command FEh, the usual one, pulses the reset line."""

    ports = (_DATA, _COMMAND)

    saved = ("_output", "_awaits_output_port")
    optional = frozenset({"_output"})

    def __init__(self) -> None:
        self._output: int | None = None
        self._awaits_output_port = False

    def read(self, port: int) -> int:
        """The status, or the answer to a command."""
        if port == _COMMAND:
            return _READY | (_OUTPUT_FULL if self._output is not None else 0)
        value, self._output = self._output, None
        return 0 if value is None else value

    def write(self, port: int, value: int) -> None:
        """A command, or its operand. Raises GuestReset where that lowers the reset line."""
        if port == _DATA:
            if self._awaits_output_port and not value & _NOT_RESET:
                raise GuestReset
            self._awaits_output_port = False
            return
        self._awaits_output_port = value == _WRITE_OUTPUT_PORT
        if value == _READ_OUTPUT_PORT:
            self._output = _NOT_RESET | _A20
        elif value == _SELF_TEST:
            self._output = _SELF_TEST_PASSED
        elif value & _PULSE == _PULSE and not value & _NOT_RESET:
            raise GuestReset


class FastReset:
    """Port 92h, system control port A: a reset by bit 0. Bit 1, A20, is always on."""

    ports = (FAST_RESET_PORT,)

    def read(self, port: int) -> int:
        """A20 is on."""
        return _A20

    def write(self, port: int, value: int) -> None:
        """Raises GuestReset for bit 0."""
        if value & _FAST_RESET:
            raise GuestReset
