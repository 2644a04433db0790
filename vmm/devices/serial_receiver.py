"""The receiver of a PC16550D: its FIFO, the errors of the bytes in it, and what waits outside."""

from __future__ import annotations

from vmm.devices.saved import Saved, limits

FIFO_SIZE = 16

#: Bytes on their way to the guest that are kept for it beside those in the FIFO.
WAITING_ROOM = 4096

#: Bits of the line status register. Errors but the overrun belong to a byte.
DATA_READY, OVERRUN, FRAMING, BREAK = 0x01, 0x02, 0x08, 0x10
_ERROR_IN_FIFO = 0x80


class Receiver(Saved):
    """Holds one byte, or as a FIFO sixteen."""

    saved = ("is_fifo", "errors", "_bytes", "_waiting")
    most = limits(_bytes=0xFFFF)
    longest = limits(_bytes=FIFO_SIZE, _waiting=WAITING_ROOM)

    def __init__(self) -> None:
        self.is_fifo = False
        #: Of the line status register, until it is read.
        self.errors = 0
        self._bytes: list[int] = []  # with the errors of each, until it is the first, from bit 8 up
        self._waiting: list[int] = []

    def __len__(self) -> int:
        return len(self._bytes)

    def offer(self, data: bytes) -> int:
        """Let bytes wait until there is room; how many of them may."""
        taken = data[: WAITING_ROOM - len(self._waiting)]
        self._waiting += taken
        return len(taken)

    def admit(self) -> bool:
        """Let in what waits, as far as there is room; whether anything was."""
        room = (FIFO_SIZE if self.is_fifo else 1) - len(self._bytes)
        admitted = self._waiting[:room]
        self._bytes += admitted
        del self._waiting[:room]
        return bool(admitted)

    def put(self, byte: int, errors: int = 0) -> None:
        """A byte that does not wait: without room it is lost, or replaces the only one."""
        if not self.is_fifo and self._bytes:
            self._bytes.clear()
            self.errors |= OVERRUN
        if len(self._bytes) < FIFO_SIZE:
            self._bytes.append(byte | errors << 8)
            self._reveal_errors()
        else:
            self.errors |= OVERRUN

    def take(self) -> int:
        """The byte that came first, 0 when there is none."""
        if not self._bytes:
            return 0
        byte = self._bytes.pop(0)
        self._reveal_errors()
        return byte

    def clear(self, is_fifo: bool) -> None:
        """Drop the bytes that have come, and be a FIFO from now on, or none."""
        self._bytes.clear()
        self.is_fifo = is_fifo

    @property
    def status(self) -> int:
        """The receiver's bits of the line status register."""
        status = self.errors | (DATA_READY if self._bytes else 0)
        if self.is_fifo and (self.errors & ~OVERRUN or any(each >> 8 for each in self._bytes)):
            status |= _ERROR_IN_FIFO
        return status

    def _reveal_errors(self) -> None:
        """A byte's errors are seen from when it is the first on."""
        if self._bytes:
            self.errors |= self._bytes[0] >> 8
            self._bytes[0] &= 0xFF
