"""`python -m tests.fuzz`: random bytes as guest code."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click
from rich.console import Console
from rich.progress import Progress

import x86core as x86
from tests.differential.disassembly import MODES, Mode
from tests.fuzz.batch import Crash, batches, run_batch


@click.command()
@click.option("--count", type=click.IntRange(1), default=100_000, help="Programs, over all modes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--mode", type=click.Choice(MODES), help="Only this mode; half in each otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(count: int, seed: int, mode: Mode | None, as_json: bool) -> None:
    """Run COUNT random programs in child processes.

    Exit status: 0 when the process survives all of them, 1 otherwise, 2 for bad input.
    """
    modes: tuple[Mode, ...] = (mode,) if mode else MODES
    reasons: Counter[str] = Counter()
    crashes: list[Crash] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for position, one in enumerate(modes):
            share = count // len(modes) + (position < count % len(modes))
            task = progress.add_task(one, total=share)
            for batch, size in batches(share):
                result = run_batch(one, seed, batch, size)
                if isinstance(result, Crash):
                    crashes.append(result)
                else:
                    reasons.update({x86.EXIT_NAMES[r]: number for r, number in result.items()})
                progress.advance(task, size)
    if as_json:
        click.echo(json.dumps({"exits": reasons, "crashes": [str(c) for c in crashes]}, indent=2))
    else:
        for crash in crashes:
            click.echo(str(crash))
        for reason, number in reasons.most_common():
            click.echo(f"{number:>12,} {reason}")
        click.echo(f"{count:,} programs, {len(crashes)} batches with a crash")
    sys.exit(1 if crashes else 0)


if __name__ == "__main__":
    main()
