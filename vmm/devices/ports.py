"""The I/O port space: which device answers at which port."""

from __future__ import annotations

import threading
from typing import Protocol

#: What a port reads as where no device drives the bus.
OPEN_BUS = 0xFF


class PortDevice(Protocol):
    """A device with 8-bit ports. Calls come from any vCPU's thread, but one at a time."""

    @property
    def ports(self) -> range:
        """The ports at which the device answers."""

    def read(self, port: int) -> int:
        """The byte that IN gives at `port`."""

    def write(self, port: int, value: int) -> None:
        """OUT of the byte `value` to `port`."""


class Ports:
    """The 65,536 ports. A wide access is one per byte, lowest port first, as on an ISA bus."""

    def __init__(self) -> None:
        self._devices: dict[int, PortDevice] = {}
        self._one_at_a_time = threading.Lock()

    def attach(self, device: PortDevice) -> None:
        """Let `device` answer at its ports. Raises ValueError when one of them is taken."""
        for port in device.ports:
            if port in self._devices:
                raise ValueError(f"port {port:#x} is taken by {self._devices[port]}")
        self._devices.update(dict.fromkeys(device.ports, device))

    def read(self, port: int, size: int) -> int:
        """The value of IN of `size` bytes at `port`; absent devices give all ones."""
        with self._one_at_a_time:
            return int.from_bytes(map(self._read_byte, range(port, port + size)), "little")

    def write(self, port: int, size: int, value: int) -> None:
        """OUT of `size` bytes to `port`; where there is no device nothing happens."""
        with self._one_at_a_time:
            for offset, byte in enumerate(value.to_bytes(size, "little")):
                device = self._devices.get(port + offset)
                if device is not None:
                    device.write(port + offset, byte)

    def _read_byte(self, port: int) -> int:
        device = self._devices.get(port)
        return OPEN_BUS if device is None else device.read(port)
