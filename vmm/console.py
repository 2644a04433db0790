"""The host's end of a guest's serial line: a terminal, files and pipes, or a script.

A console's `write` takes what the guest sends. `connect` tells it where its input goes; while it is
used as a context manager it sends that.
"""

from __future__ import annotations

import os
import select
import termios
import threading
import tty
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

#: Sends bytes to the guest; how many of them there was room for.
Receive = Callable[[bytes], int]

#: What a script keeps of the guest's output, in bytes.
_KEPT = 1 << 20

_CHUNK = 4096

#: How long input waits, in seconds, before it asks again whether the guest has room.
_RETRY_SECONDS = 0.01

_CTRL_A = 0x01


class Console(Protocol):
    """What a machine wants of a console."""

    def write(self, data: bytes) -> None:
        """The guest has sent this."""

    def connect(self, receive: Receive, leave: Callable[[], object]) -> None:
        """Input goes to `receive`; `leave` ends the machine."""

    def __enter__(self) -> Self:
        """Begin to send input."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send no more."""


class StreamConsole:
    """File descriptors of files or pipes, one for each direction, or None.

    Input is read on a thread, until its end or an error, and no faster than the guest takes it.
    """

    def __init__(self, source: int | None = None, sink: int | None = None) -> None:
        self._source = source
        self._sink = sink
        self._receive: Receive = len  # nobody to send to: all of it is gone
        self._leave: Callable[[], object] = lambda: None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="console", daemon=True)

    def write(self, data: bytes) -> None:
        """Write to the sink, all of it. Raises OSError."""
        while data and self._sink is not None:
            data = data[os.write(self._sink, data) :]

    def connect(self, receive: Receive, leave: Callable[[], object]) -> None:
        """Input goes to `receive`; what `leave` is for, only a terminal knows."""
        self._receive, self._leave = receive, leave

    def __enter__(self) -> Self:
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        os.close(self._wake_writer)
        self._thread.join()
        os.close(self._wake_reader)

    def _read_all(self) -> None:
        if self._source is None:
            return
        readable = select.poll()
        readable.register(self._source, select.POLLIN)
        readable.register(self._wake_reader, select.POLLIN)
        while not self._closed.is_set():
            if self._wake_reader in dict(readable.poll()):
                return
            try:
                data = os.read(self._source, _CHUNK)
            except OSError:
                return
            if not data:
                return
            self._send(self._filter(data))

    def _filter(self, data: bytes) -> bytes:
        """What of the input is for the guest."""
        return data

    def _send(self, data: bytes) -> None:
        while data and not self._closed.is_set():
            sent = self._receive(data)
            data = data[sent:]
            if data:
                self._closed.wait(_RETRY_SECONDS)


class TerminalConsole(StreamConsole):
    """A terminal in raw mode: every key goes to the guest, Ctrl-C too. Ctrl-A X leaves, and Ctrl-A
    twice is one Ctrl-A for the guest.

    Raises ValueError when `source` is no terminal.
    """

    def __init__(self, source: int = 0, sink: int | None = None) -> None:
        super().__init__(source, sink)
        if not os.isatty(source):
            raise ValueError(f"file descriptor {source} is no terminal: use a StreamConsole")
        self._terminal = source
        self._escaped = False

    def __enter__(self) -> Self:
        self._settings = termios.tcgetattr(self._terminal)
        tty.setraw(self._terminal)
        raw = termios.tcgetattr(self._terminal)
        raw[1] |= termios.OPOST  # guests that end lines by LF alone would draw stairs
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, raw)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._settings)

    def _filter(self, data: bytes) -> bytes:
        kept = bytearray()
        for byte in data:
            if not self._escaped and byte == _CTRL_A:
                self._escaped = True
                continue
            if not self._escaped or byte == _CTRL_A:
                kept.append(byte)
            elif byte in b"xX":
                self._leave()
            self._escaped = False
        return bytes(kept)


class ScriptConsole:
    """Input for tests: of each pair (`after`, `send`) in turn, `send` once the guest has sent
    `after` since the pair before. What follows an empty `after` is sent at once.

    The input is sent by whoever writes the output, so that it comes at the same moment in every
    run; what there is no room for then is sent when the guest next sends something. `output` is the
    last of what the guest has sent.
    """

    def __init__(self, steps: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._steps = list(steps)
        self._receive: Receive = len
        self._unmatched = bytearray()
        self._unsent = b""
        self.output = bytearray()

    def write(self, data: bytes) -> None:
        """Note it, and send what the script has after it."""
        self.output += data
        del self.output[:-_KEPT]
        self._unmatched += data
        self._go_on()

    def connect(self, receive: Receive, leave: Callable[[], object]) -> None:
        """Input goes to `receive`. A script ends by what the guest does."""
        self._receive = receive

    def __enter__(self) -> Self:
        self._go_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    @property
    def finished(self) -> bool:
        """Whether all of the script has been sent."""
        return not self._steps and not self._unsent

    def _go_on(self) -> None:
        while True:
            self._unsent = self._unsent[self._receive(self._unsent) :]
            if not self._steps:
                self._unmatched.clear()
            if self._unsent or not self._steps:
                return
            after, send = self._steps[0]
            found = self._unmatched.find(after)
            if found < 0:
                del self._unmatched[: -len(after)]
                return
            del self._unmatched[: found + len(after)]
            self._unsent = send
            self._steps.pop(0)
