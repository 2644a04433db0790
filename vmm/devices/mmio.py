"""Memory-mapped registers: which device answers at which physical address outside RAM."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Protocol


class MemoryDevice(Protocol):
    """A device with registers in memory. Calls come from any vCPU's thread, but one at a time.

    Whatever a guest programs, a device raises nothing.
    """

    @property
    def region(self) -> range:
        """The physical addresses at which the device answers."""

    def load(self, offset: int, size: int) -> int:
        """The `size` bytes, 1 to 4, at this offset in the region, as an int of that size."""

    def store(self, offset: int, size: int, value: int) -> None:
        """A store of `size` bytes, 1 to 4, at this offset in the region."""


class MemoryMap:
    """What there is outside RAM. An access belongs to the device at its first byte.

    `lock` is held during an access: that of the clock, where devices have one.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._devices: list[MemoryDevice] = []
        self._lock = lock or threading.RLock()

    def attach(self, device: MemoryDevice) -> None:
        """Let `device` answer in its region. Raises ValueError when a part of that is taken."""
        new = device.region
        for other in self._devices:
            if new.start < other.region.stop and other.region.start < new.stop:
                raise ValueError(f"address {new.start:#x} is taken by {other}")
        self._devices.append(device)

    def load(self, address: int, size: int) -> int:
        """The value of a load of `size` bytes; where there is no device all ones."""
        with self._lock:
            for device in self._devices:
                if address in device.region:
                    return device.load(address - device.region.start, size)
            return (1 << 8 * size) - 1

    def store(self, address: int, size: int, value: int) -> None:
        """A store of `size` bytes; where there is no device nothing happens."""
        with self._lock:
            for device in self._devices:
                if address in device.region:
                    device.store(address - device.region.start, size, value)
