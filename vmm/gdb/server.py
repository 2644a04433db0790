"""A server for one gdb at a time, on a thread of its own."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from vmm.gdb.debugger import Debugger
from vmm.gdb.packets import Decoder, Signal, frame
from vmm.gdb.session import Session

#: Where it listens unless told otherwise: whoever can connect controls the guest.
LOOPBACK = "127.0.0.1"

#: Seconds within which gdb must take what it is sent, and let go of the connection at the end.
_PATIENCE = 5.0


class GDBError(ValueError):
    """The server cannot be had; the message says why and what to do."""


class Address(NamedTuple):
    """Where to listen: port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """PORT on loopback, or HOST:PORT, with brackets around an IPv6 address. Raises GDBError."""
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16) or (colon and not host):
        raise GDBError(
            f"{text!r} is no place for gdb: give PORT or HOST:PORT, PORT from 0 to 65535"
        )
    return Address(host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port))


class Server:
    """Serves `debugger` to whoever connects, while the `with` block lasts.

    As with QEMU, the guest is held when a gdb connects. When it detaches the guest goes on; when
    the connection is lost the guest stays as it is, held or running, without its breakpoints, and
    another gdb may connect.
    """

    def __init__(self, debugger: Debugger, address: Address) -> None:
        self._debugger = debugger
        self._status: int | None = None
        try:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            self._listener = socket.create_server(address, family=family)
        except OSError as error:
            raise GDBError(
                f"cannot listen for gdb on {address}: {error.strerror or error}; "
                "give another PORT, or 0 for a free one"
            ) from None
        self.address = Address(*self._listener.getsockname()[:2])
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="gdb", daemon=True)

    def __enter__(self) -> Self:
        self._debugger.notify = self._notify
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._debugger.end()
        self._thread.join()
        self._listener.close()
        self._debugger.notify = lambda: None
        os.close(self._event)

    def finish(self, status: int) -> None:
        """The guest has ended with this exit status: gdb is told at the end of the `with` block."""
        self._status = status

    def _notify(self) -> None:
        os.eventfd_write(self._event, 1)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._event, selectors.EVENT_READ)
            while not self._closing:
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        with suppress(OSError):  # it has gone away again
                            connection, _ = self._listener.accept()
                            with connection:
                                self._converse(connection)
                    else:
                        self._clear_event()

    def _clear_event(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)

    def _converse(self, connection: socket.socket) -> None:
        """One gdb, from its connection to its end."""
        connection.settimeout(_PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._debugger.attach()
        conversation = _Conversation(self._debugger, connection)
        try:
            with selectors.DefaultSelector() as selector:
                for source in (connection, self._listener, self._event):
                    selector.register(source, selectors.EVENT_READ)
                while not conversation.over:
                    self._wait(selector, conversation)
        except OSError:
            pass  # the connection is lost
        finally:
            self._debugger.detach(release=conversation.session.detached)
            if conversation.session.killed:
                self._debugger.kill()

    def _wait(self, selector: selectors.BaseSelector, conversation: _Conversation) -> None:
        ready = {key.fileobj for key, _ in selector.select()}
        if self._event in ready:
            self._clear_event()
            if not self._debugger.ended:
                conversation.report()
            elif self._closing:
                conversation.end(self._status)
                return
        if conversation.connection in ready:
            conversation.receive()
        elif self._listener in ready:
            # One gdb at a time. One that has just gone is seen above, before the next one here.
            self._listener.accept()[0].close()


class _Conversation:
    """The packets of one connection. Raises OSError when it is lost."""

    def __init__(self, debugger: Debugger, connection: socket.socket) -> None:
        self.session = Session(debugger)
        self.over = False
        self._debugger = debugger
        self.connection = connection
        self._decoder = Decoder()
        self._last = b""

    def receive(self) -> None:
        """Take what has come."""
        data = self.connection.recv(1 << 16)
        if not data:
            self.over = True
        for event in self._decoder.feed(data):
            if self.over:
                break
            self._take(event)

    def report(self) -> None:
        """The vCPUs are to be looked at."""
        if self.session.running and self._debugger.stopping:
            reply = self.session.report()
            if reply is not None:
                self._send(reply)

    def end(self, status: int | None) -> None:
        """The machine has ended. gdb is told when it waits for the guest."""
        if self.session.running and status is not None:
            self._send(self.session.end(status))
            self.connection.shutdown(socket.SHUT_WR)
            while self.connection.recv(1 << 16):
                pass
        self.over = True

    def _take(self, event: bytes | Signal) -> None:
        if isinstance(event, bytes):
            self._answer(event)
        elif event is Signal.INTERRUPT:
            if self.session.running:
                self._debugger.interrupt()
        elif self.session.acknowledges and event is Signal.DAMAGED:
            self.connection.sendall(b"-")
        elif self.session.acknowledges and event is Signal.AGAIN:
            self.connection.sendall(self._last)

    def _answer(self, payload: bytes) -> None:
        if self.session.acknowledges:
            self.connection.sendall(b"+")
        if self.session.running:
            # As QEMU: whatever comes holds the guest, which gdb waits for; then it can be answered.
            self._debugger.interrupt()
            self.report()
        if self._debugger.ended:
            return
        for reply in self.session.handle(payload):
            self._send(reply)
        self.over = self.session.detached or self.session.killed

    def _send(self, payload: bytes) -> None:
        self._last = frame(payload)
        self.connection.sendall(self._last)
