"""The command line, `python -m vmm`: a file per command or subject."""

from __future__ import annotations

import click

from vmm.cli.caps import caps
from vmm.cli.examples import examples
from vmm.cli.guest_files import asm, info
from vmm.cli.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A virtual machine monitor for tiny x86 guests."""


for command in (run, examples, info, asm, caps):
    cli.add_command(command)

__all__ = ["cli"]
