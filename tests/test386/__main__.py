"""`python -m tests.test386 CHECKOUT`: assemble test386.asm, run it, compare its results."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tests.test386.program import ROOT, CheckoutError, assemble, run


@click.command()
@click.argument("checkout", type=click.Path(path_type=Path))
def main(checkout: Path) -> None:
    """Assemble and run test386.asm from CHECKOUT, a copy of github.com/barotto/test386.asm.

    The ROM and what it prints are left in build/test386.

    Exit status: 0 when it reaches POST FF and prints the lines of its reference file byte for byte,
    1 when not, 2 for bad input.
    """
    try:
        result = run(assemble(checkout, ROOT / "build" / "test386"), checkout)
    except CheckoutError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    click.echo("POST " + " ".join(f"{code:02X}" for code in result.codes))
    failures = list(result.failures())
    for failure in failures:
        click.echo(f"FAILED: {failure}")
    if not failures:
        click.echo(f"{result.lines:,} lines as in the reference; {result.summary}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
