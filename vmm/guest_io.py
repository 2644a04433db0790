"""Where the input of a guest comes from and its output goes, as the options of `run` say."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vmm.console import Console, ScriptConsole, StreamConsole, TerminalConsole
from vmm.output import BadInput


@contextmanager
def serial_input(path: str | None, *, script: bool) -> Iterator[Console | None]:
    """A console that sends the file `path`, or standard input for "-"; None for None.

    `script`: all of it is read first, and there at the guest's first instruction in every run.

    What cannot be opened, and a terminal's script, end the command with a message.
    """
    if path is None:
        yield None
    elif path == "-":
        if sys.stdin is None:
            raise BadInput("standard input is closed: give a file to --input")
        try:
            source = sys.stdin.fileno()
        except io.UnsupportedOperation:  # something in memory stands for it
            yield ScriptConsole([(b"", sys.stdin.buffer.read())])
        else:
            yield _console(source, script)
    else:
        try:
            file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise BadInput(f"cannot read {path}: {error.strerror}") from None
        with file:
            yield _console(file.fileno(), script)


def _console(source: int, script: bool) -> Console:
    if script and os.isatty(source):
        raise BadInput(
            "with --clock virtual the input cannot come from a terminal, at whose pace no run would"
            " be like another: give a file to --input"
        )
    if script:
        with open(source, "rb", closefd=False) as file:
            return ScriptConsole([(b"", file.read())])
    return TerminalConsole(source) if os.isatty(source) else StreamConsole(source)


@contextmanager
def guest_output(
    path: str | None, usual: Callable[[bytes], object] | None
) -> Iterator[Callable[[bytes], object] | None]:
    """What takes the guest's output: the file `path`, which is made anew, or `usual` for None.

    What cannot be opened or written ends the command with a message.
    """
    if path is None:
        yield usual
        return

    def failed(error: OSError) -> BadInput:
        return BadInput(f"cannot write to {path}: {error.strerror}")

    def write(data: bytes) -> None:
        try:
            while data:
                data = data[file.write(data) or 0 :]
        except OSError as error:
            raise failed(error) from None

    try:
        file = Path(path).open("wb", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise failed(error) from None
    with file:
        yield write
