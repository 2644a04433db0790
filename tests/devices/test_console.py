"""Consoles: streams, a terminal in raw mode, a script."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE, wait_until
from vmm.console import ScriptConsole, StreamConsole, TerminalConsole


class Guest:
    """Takes what it has room for."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.received = bytearray()
        self.left = threading.Event()

    def receive(self, data: bytes) -> int:
        taken = data[: self.room]
        self.room -= len(taken)
        self.received += taken
        return len(taken)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_pipe_for_input(pipe: tuple[int, int]) -> None:
    guest = Guest()
    console = StreamConsole(pipe[0])
    console.connect(guest.receive, guest.left.set)
    with console:
        os.write(pipe[1], b"one")
        wait_until(lambda: guest.received == b"one", "the first")
        os.write(pipe[1], b"two\x01x")
        wait_until(lambda: guest.received == b"onetwo\x01x", "the second, as it is")
    assert not guest.left.is_set()
    assert "console" not in {thread.name for thread in threading.enumerate()}


def test_a_file_for_input_at_the_pace_of_the_guest(tmp_path: Path) -> None:
    path = tmp_path / "input"
    data = bytes(range(256)) * 100
    path.write_bytes(data)
    guest = Guest(room=10_000)
    with path.open("rb") as file:
        console = StreamConsole(file.fileno())
        console.connect(guest.receive, guest.left.set)
        with console:
            wait_until(lambda: guest.room == 0, "no room")
            guest.room = 1 << 20
            wait_until(lambda: guest.received == data, "all of it")


def test_leaving_while_the_guest_has_no_room(pipe: tuple[int, int]) -> None:
    guest = Guest(room=1)
    console = StreamConsole(pipe[0])
    console.connect(guest.receive, guest.left.set)
    with console:
        os.write(pipe[1], b"abc")
        wait_until(lambda: guest.received == b"a", "the first byte")
    assert guest.received == b"a"


def test_output_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "output"
    with path.open("wb") as file, StreamConsole(sink=file.fileno()) as console:
        console.write(b"hello ")
        console.write(b"world")
    assert path.read_bytes() == b"hello world"


def test_output_that_nobody_reads_raises() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        StreamConsole(sink=writer).write(b"x")
    os.close(writer)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The user's end and the program's end."""
    user, program = pty.openpty()
    yield user, program
    os.close(user)
    os.close(program)


def test_a_terminal_is_raw_and_put_back(terminal: tuple[int, int]) -> None:
    user, program = terminal
    guest = Guest()
    before = termios.tcgetattr(program)
    console = TerminalConsole(program, sink=program)
    console.connect(guest.receive, guest.left.set)
    with console:
        during = termios.tcgetattr(program)
        assert not during[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        os.write(user, b"a\x03\x04\r")
        wait_until(lambda: guest.received == b"a\x03\x04\r", "every key, at once")
        console.write(b"line\n")
        assert os.read(user, 100) == b"line\r\n"
    assert termios.tcgetattr(program) == before


def test_ctrl_a_x_leaves(terminal: tuple[int, int]) -> None:
    user, program = terminal
    guest = Guest()
    console = TerminalConsole(program, sink=program)
    console.connect(guest.receive, guest.left.set)
    with console:
        os.write(user, b"a\x01\x01b\x01")  # Ctrl-A twice is one for the guest
        wait_until(lambda: guest.received == b"a\x01b", "one Ctrl-A")
        os.write(user, b"?x")
        wait_until(lambda: guest.received == b"a\x01bx", "another key is nothing")
        assert not guest.left.is_set()
        os.write(user, b"\x01X")
        assert guest.left.wait(PATIENCE)


def test_what_is_no_terminal(pipe: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is no terminal"):
        TerminalConsole(pipe[0])


def test_a_script() -> None:
    guest = Guest()
    script = ScriptConsole([(b"", b"hi\n"), (b"name: ", b"root\n"), (b"name: ", b"again\n")])
    script.connect(guest.receive, guest.left.set)
    assert guest.received == b""
    with script:
        assert guest.received == b"hi\n"
        for byte in b"welcome. your name":
            script.write(bytes([byte]))
        assert guest.received == b"hi\n"
        script.write(b": ")
        assert guest.received == b"hi\nroot\n"
        finished = [script.finished]
        script.write(b"name: ")
        assert guest.received == b"hi\nroot\nagain\n"
        finished.append(script.finished)
    assert finished == [False, True]
    assert script.output == b"welcome. your name: name: "


def test_a_script_for_a_guest_without_room() -> None:
    guest = Guest(room=2)
    script = ScriptConsole([(b"", b"hello"), (b">", b"bye")])
    script.connect(guest.receive, guest.left.set)
    with script:
        script.write(b">")
        assert guest.received == b"he"
        guest.room = 100
        script.write(b".")
        assert guest.received == b"hellobye"


def test_a_script_keeps_no_more_than_it_needs() -> None:
    script = ScriptConsole([(b"never", b"")])
    with script:
        for _ in range(200):
            script.write(bytes(10_000))
    assert len(script.output) == 1 << 20
    assert len(script._unmatched) <= len(b"never")
