"""The options of `run` and `info` for guests that begin at the reset vector."""

from __future__ import annotations

import click

from vmm.devices import PostCodes
from vmm.machine import Machine

rom_option = click.option(
    "--rom",
    "as_rom",
    is_flag=True,
    help="Take GUEST for a ROM image, as a .rom file is: it ends at 1 MiB and again at 4 GiB, and"
    " vCPU 0 begins at its reset vector.",
)

post_option = click.option(
    "--post-port",
    metavar="PORT",
    help="Show the diagnostic codes that firmware writes to this port, each as it comes on stderr,"
    " or as post_codes of --json. Example: --post-port 0x80.",
)


def show_post_codes(machine: Machine, port: str | None, *, aloud: bool) -> PostCodes | None:
    """Attach the diagnostic port to a machine, where one is wanted.

    Raises ValueError when it is no port, or another device's.
    """
    if port is None:
        return None
    try:
        number = int(port, 0)
    except ValueError:
        raise ValueError(f"{port!r} is no port: give a number such as 0x80") from None
    codes = PostCodes(number, _say if aloud else None)
    machine.ports.attach(codes)
    return codes


def _say(code: int) -> None:
    click.echo(f"POST {code:02X}", err=True)
