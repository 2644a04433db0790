"""`run --input` and `--output`: files, pipes, a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from tests.support import PATIENCE

RUN = [sys.executable, "-m", "vmm", "run", "serial"]


def run(*options: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RUN, *options], input=typed, capture_output=True, timeout=6 * PATIENCE, check=False
    )


def error(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one message of a command that was misused."""
    assert done.returncode == 2
    assert (b"\n" + done.stderr).count(b"\nError: ") == 1
    return done.stderr.decode().split("Error: ", 1)[1]


def test_a_pipe_is_the_input_of_the_guest_that_wants_one() -> None:
    done = run(typed=b"hello\n\4")
    assert done.returncode == 0
    assert b"HELLO\n" in done.stdout


def test_files(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"one\ntwo\n\4")
    done = run("--input", str(tmp_path / "input"), "--output", str(tmp_path / "output"))
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"ONE\nTWO\n" in (tmp_path / "output").read_bytes()


def test_a_file_with_virtual_time(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"one\n\4")
    done = run("--input", str(tmp_path / "input"), "--clock", "virtual")
    assert (done.returncode, b"ONE\n" in done.stdout) == (0, True)


def test_what_virtual_time_and_files_do_not_go_with() -> None:
    terminal = Terminal("--clock", "virtual")
    status, message = terminal.end()
    assert (status, b"cannot come from a terminal" in message) == (2, True)


def test_files_that_are_none(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "file")
    assert f"cannot read {missing}: No such file" in error(run("--input", missing))
    assert f"cannot write to {missing}: No such file" in error(run("--output", missing))
    full = error(run("--input", os.devnull, "--output", "/dev/full"))
    assert "cannot write to /dev/full: No space left" in full


def test_no_standard_input() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *RUN],
        capture_output=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    assert "standard input is closed" in error(done)


def test_input_wants_a_serial_port() -> None:
    assert "--devices pc" in error(run("--devices", "none"))


class Terminal:
    """The far end of a terminal at which a command runs: what it has shown so far."""

    def __init__(self, *options: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.shown = bytearray()
        self._more = threading.Condition()
        self.process = subprocess.Popen(
            [*RUN, *options], stdin=self.slave, stdout=self.slave, stderr=subprocess.PIPE
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while data := os.read(self.master, 4096):
            with self._more:
                self.shown += data
                self._more.notify()

    def wait_for(self, text: bytes) -> None:
        with self._more:
            assert self._more.wait_for(lambda: text in self.shown, 6 * PATIENCE), self.shown

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> tuple[int, bytes]:
        """The command's status, and its summary."""
        _, stderr = self.process.communicate(timeout=6 * PATIENCE)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is as it was"
        return self.process.returncode, stderr


@pytest.mark.parametrize(("keys", "status"), [(b"\4", 0), (b"\1x", 130)])
def test_a_terminal(keys: bytes, status: int) -> None:
    """Enter is CR in raw mode, Ctrl-C an ordinary key, and lines end as at any terminal."""
    terminal = Terminal()
    terminal.wait_for(b"Ctrl-D ends.\r\n")
    terminal.type(b"hello\r\3\1\1")
    terminal.wait_for(b"HELLO\r\n\3\1")
    terminal.type(keys)
    ended, summary = terminal.end()
    assert ended == status
    assert re.search(rb"left at the console|wrote 0 to the exit port", summary)
