"""Machines under a debugger, the real gdb in batch mode, and a small client of the protocol."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmm
from vmm.gdb import Debugger, Server, parse_address

#: Seconds after which something that should have happened counts as lost.
PATIENCE = 20.0

needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")


class Guest:
    """A machine that runs under a debugger on a thread of its own."""

    def __init__(self, machine: vmm.Machine, debugger: Debugger, server: Server) -> None:
        self.machine = machine
        self.server = server
        self.result: vmm.Result | None = None
        self._thread = threading.Thread(target=self._run, args=(debugger,), daemon=True)

    def _run(self, debugger: Debugger) -> None:
        with self.server:
            self.result = self.machine.run(timeout=PATIENCE)
            self.server.finish(self.result.exit_code or 0)

    def start(self) -> None:
        """Let it wait for a debugger."""
        self._thread.start()

    def finish(self) -> vmm.Result:
        """Its result, once it has ended by itself."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the guest does not end"
        assert self.result is not None
        return self.result


@contextlib.contextmanager
def guest(source: str, folder: Path, *, vcpus: int = 1, tick: float = 0) -> Iterator[Guest]:
    """A guest of a few lines in Intel syntax, loaded at 7C00h in real mode."""
    path = folder / "guest.S"
    path.write_text(f".intel_syntax noprefix\n.code16\n{source}\n")
    debugger = Debugger()
    machine = vmm.Machine.load(path, memory="1M", vcpus=vcpus, tick=tick, debugger=debugger)
    running = Guest(machine, debugger, Server(debugger, parse_address("0")))
    running.start()
    try:
        yield running
    finally:
        debugger.kill()
        running.finish()


def gdb(port: int, *commands: str) -> list[str]:
    """What gdb prints for each command; it leaves the guest at the end."""
    script = ["set pagination off", "set confirm off", f"target remote :{port}"]
    arguments = [argument for line in script for argument in ("-ex", line)]
    for command in commands:
        arguments += ["-ex", "echo <<<\\n", "-ex", command]
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-nh", "-batch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return [re.sub(r"\s+", " ", part).strip() for part in done.stdout.split("<<<\n")[1:]]


class Client:
    """Speaks the protocol byte by byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._data = b""

    def send(self, payload: bytes) -> None:
        """A packet, as it is."""
        self.socket.sendall(b"$%s#%02x" % (payload, sum(payload) & 0xFF))

    def receive(self) -> bytes:
        """The payload of the next packet; acknowledgments are left out."""
        while not (match := re.search(rb"\$([^#]*)#..", self._data, re.DOTALL)):
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the connection is closed")
            self._data += data
        self._data = self._data[match.end() :]
        self.socket.sendall(b"+")
        return match[1]

    def ask(self, payload: bytes | str) -> str:
        """A packet and its answer."""
        self.send(payload.encode() if isinstance(payload, str) else payload)
        return self.receive().decode("latin-1")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
