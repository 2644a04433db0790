"""`python -m tests.flood`: floods the VMM for as long as wanted, and says how it has stood it."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import click

from tests.flood.campaign import SLICE_SECONDS, flood
from tests.flood.guest import BODIES


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.FloatRange(0), default=60.0, show_default=True)
@click.option("--seed", type=int, help="What the guests do.  [default: random, and printed]")
@click.option("--guest", type=click.Choice(list(BODIES)), help="One guest alone.  [default: all]")
@click.option("--slice", "slice_seconds", type=float, default=SLICE_SECONDS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def main(
    context: click.Context,
    seconds: float,
    seed: int | None,
    guest: str | None,
    slice_seconds: float,
    as_json: bool,
) -> None:
    """Run guests that flood the VMM with exits, write to every port and every page outside RAM, and
    program serial port, timers and interrupt controllers at random.

    Status 0 if it stays up, ends each machine on time, does not grow, and leaves valid timelines;
    else 1.
    """
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    findings = flood(seconds, seed, slice_seconds, guest)
    if as_json:
        click.echo(json.dumps(asdict(findings) | {"seed": seed}, indent=2))
    else:
        total = findings.exits.total()
        click.echo(
            f"{findings.machines.total():,} machines in {findings.seconds:.1f} s, seed {seed}:"
            f" {', '.join(f'{n:,} {name}' for name, n in findings.machines.items())}"
        )
        click.echo(f"ended: {', '.join(f'{n:,} {how}' for how, n in findings.outcomes.items())}")
        click.echo(
            f"{total:,} exits ({total / findings.seconds:,.0f}/s):"
            f" {', '.join(f'{n:,} {name}' for name, n in findings.exits.most_common())}"
        )
        click.echo(
            f"{findings.instructions:,} instructions, {findings.printed:,} bytes printed;"
            f" the latest end {findings.latest_end:.3f} s late"
        )
        click.echo(f"{findings.timeline_bytes / 2**20:,.1f} MiB of timelines, checked")
        click.echo(
            f"resident memory {findings.resident_first / 2**20:.1f} MiB after the first round,"
            f" at most {findings.resident_peak / 2**20:.1f} MiB"
        )
    for problem in findings.problems:
        click.echo(problem, err=True)
    context.exit(1 if findings.problems else 0)


main()
