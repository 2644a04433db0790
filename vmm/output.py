"""Standard output of the commands, and what becomes of one that nobody takes it from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click


class BadInput(click.ClickException):
    """What was given cannot be used: a message and status 2, without the help for options."""

    exit_code = 2


def to_stdout(data: bytes) -> None:
    """Put bytes out at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def stdout_of(context: click.Context) -> Iterator[None]:
    """Ends the command when standard output cannot be written: with status 1 when its reader has
    gone away, having seen enough, and else with a message.
    """
    if sys.stdout is None:
        raise BadInput("standard output is closed: send it somewhere")
    try:
        yield
    except BrokenPipeError:
        _give_up()
        context.exit(1)
    except OSError as error:
        _give_up()
        message = f"cannot write to standard output: {error.strerror}"
        raise BadInput(message) from None


def _give_up() -> None:
    """What is still in the buffer has nowhere to go, and Python would say so at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
