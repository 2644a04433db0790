"""The option --gdb of `run`: a server beside the machine while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from vmm.gdb import Debugger, Server, parse_address

gdb_option = click.option(
    "--gdb",
    metavar="[HOST:]PORT",
    help="Wait for gdb on this port of the loopback interface, or of HOST, before the first"
    " instruction; 0 is any free port. Example: --gdb 1234, then in gdb: target remote :1234.",
)


@contextmanager
def debugged(address: str | None, debugger: Debugger | None) -> Iterator[Callable[[int], None]]:
    """Serve a debugger, where there is one; gives what is to be told the exit status at the end.

    Raises GDBError.
    """
    if address is None or debugger is None:
        yield lambda status: None
        return
    with Server(debugger, parse_address(address)) as server:
        click.echo(f"waiting for gdb: target remote {server.address}", err=True)
        yield server.finish
