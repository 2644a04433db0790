"""Packets of GDB's remote protocol: from bytes, and to bytes.

Source: the GDB manual, appendix "Remote Protocol", sections Overview and Packet Acknowledgment.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

#: The longest payload that is accepted, and that gdb is told of (PacketSize), in bytes.
PACKET_SIZE = 0x4000

_ESCAPE = 0x7D
_SPECIAL = b"#$}*"


class Signal(Enum):
    """What comes beside packets."""

    ACKNOWLEDGED = auto()
    AGAIN = auto()  # the last packet did not arrive well
    INTERRUPT = auto()
    DAMAGED = auto()  # a packet whose checksum is wrong, or that is too long


class _State(Enum):
    BETWEEN = auto()
    PAYLOAD = auto()
    CHECKSUM = auto()


class Decoder:
    """Makes payloads and signals of what arrives, in pieces of any size.

    It keeps at most one packet. What is between packets and means nothing is left out.
    """

    def __init__(self) -> None:
        self._state = _State.BETWEEN
        self._payload = bytearray()
        self._checksum = b""

    def feed(self, data: bytes) -> Iterator[bytes | Signal]:
        """The payloads, unescaped, and signals that are complete with this piece."""
        for byte in data:
            event = self._take(byte)
            if event is not None:
                yield event

    def _take(self, byte: int) -> bytes | Signal | None:
        if self._state is _State.BETWEEN:
            return self._between(byte)
        if byte == ord("$"):
            self._begin()  # the one before was cut off
        elif self._state is _State.PAYLOAD:
            if byte == ord("#"):
                self._state = _State.CHECKSUM
            elif len(self._payload) <= PACKET_SIZE:  # one byte more says that it is too long
                self._payload.append(byte)
        else:
            self._checksum += bytes([byte])
            if len(self._checksum) == 2:
                self._state = _State.BETWEEN
                return self._finish()
        return None

    def _between(self, byte: int) -> Signal | None:
        match byte:
            case 0x24:  # $
                self._begin()
            case 0x2B:  # +
                return Signal.ACKNOWLEDGED
            case 0x2D:  # -
                return Signal.AGAIN
            case 0x03:
                return Signal.INTERRUPT
        return None

    def _begin(self) -> None:
        self._state = _State.PAYLOAD
        self._payload.clear()
        self._checksum = b""

    def _finish(self) -> bytes | Signal:
        try:
            expected = int(self._checksum, 16)
        except ValueError:
            return Signal.DAMAGED
        if len(self._payload) > PACKET_SIZE or expected != sum(self._payload) & 0xFF:
            return Signal.DAMAGED
        return _unescape(bytes(self._payload))


def frame(payload: bytes) -> bytes:
    """The packet of a payload."""
    escaped = b"".join(
        bytes([_ESCAPE, byte ^ 0x20]) if byte in _SPECIAL else bytes([byte]) for byte in payload
    )
    return b"$%s#%02x" % (escaped, sum(escaped) & 0xFF)


def _unescape(payload: bytes) -> bytes:
    if _ESCAPE not in payload:
        return payload
    plain = bytearray()
    escaped = False
    for byte in payload:
        if escaped:
            plain.append(byte ^ 0x20)
        elif byte != _ESCAPE:
            plain.append(byte)
        escaped = byte == _ESCAPE and not escaped
    return bytes(plain)
