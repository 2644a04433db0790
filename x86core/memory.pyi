from collections.abc import Buffer
import numpy as np
from numpy.typing import NDArray

class Memory:
    """Guest RAM shared by the vCPUs of one machine, from physical address 0.

    `size` is in bytes. Raises ValueError unless it is positive, a multiple of 4096 and at most
    4 GiB less 64 MiB, and MemoryError when the host cannot hold it.
    """

    def __init__(self, size: int) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def vcpus(self) -> int:
        """How many vCPUs use this memory."""
    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at a physical address as a device would.

        Triggers the monitors that the store touches and drops code decoded from those bytes.
        Raises ValueError when any byte lies outside RAM; then nothing is written.
        """
    def read(self, address: int, size: int) -> bytes:
        """The `size` bytes at a physical address. Raises ValueError outside RAM."""
    def view(self) -> NDArray[np.uint8]:
        """A read-only array of shape (size,) over RAM, without a copy; it keeps the RAM alive."""
