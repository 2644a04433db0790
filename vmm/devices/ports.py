"""The I/O port space: which device answers at which port."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol

#: What a port reads as where no device drives the bus.
OPEN_BUS = 0xFF


class PortDevice(Protocol):
    """A device with 8-bit ports. Calls come from any vCPU's thread, but one at a time.

    Whatever a guest programs, a device raises nothing but a request to the loop of the vCPU:
    GuestExit or GuestReset.
    """

    @property
    def ports(self) -> Collection[int]:
        """The ports at which the device answers."""

    def read(self, port: int) -> int:
        """The byte that IN gives at `port`."""

    def write(self, port: int, value: int) -> None:
        """OUT of the byte `value` to `port`."""


class Ports:
    """The 65,536 ports. A wide access is one per byte, lowest port first, as on an ISA bus.

    `lock` is held during an access: that of the clock, where devices have one.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._devices: dict[int, PortDevice] = {}
        self._lock = lock or threading.RLock()

    def attach(self, device: PortDevice) -> None:
        """Let `device` answer at its ports. Raises ValueError when one of them is taken."""
        for port in device.ports:
            if port in self._devices:
                raise ValueError(f"port {port:#x} is taken by {self._devices[port]}")
        self._devices.update(dict.fromkeys(device.ports, device))

    def read(self, port: int, size: int) -> int:
        """The value of IN of `size` bytes at `port`; absent devices give all ones."""
        with self._lock:
            return int.from_bytes(map(self._read_byte, range(port, port + size)), "little")

    def write(self, port: int, size: int, value: int) -> None:
        """OUT of `size` bytes to `port`; where there is no device nothing happens."""
        with self._lock:
            for offset, byte in enumerate(value.to_bytes(size, "little")):
                device = self._devices.get(port + offset)
                if device is not None:
                    device.write(port + offset, byte)

    def _read_byte(self, port: int) -> int:
        device = self._devices.get(port)
        return OPEN_BUS if device is None else device.read(port)
