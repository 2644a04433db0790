"""`python -m tests.differential`: random instruction sequences against Unicorn."""

from __future__ import annotations

import json
import sys

import click
from rich.console import Console
from rich.progress import Progress

from tests.differential.campaign import Campaign, run
from tests.differential.disassembly import MODES, Mode


def _run(mode: Mode, seed: int, seconds: float, progress: Progress) -> Campaign:
    task = progress.add_task(mode, total=seconds)

    def advance(elapsed: float) -> None:
        progress.update(task, completed=elapsed)

    return run(mode, seed, seconds=seconds, progress=advance)


def _print(console: Console, campaign: Campaign) -> None:
    for cause, difference in campaign.differences.items():
        console.rule(f"{cause} ({campaign.occurrences[cause]} times)")
        console.print(str(difference), markup=False, highlight=False, soft_wrap=True)
    for reason, count in campaign.reasons.most_common():
        console.print(f"{campaign.mode}: {count:,} x {reason}", markup=False)
    console.print(
        f"{campaign.mode}: {campaign.instructions:,} instructions in {campaign.cases:,} cases, "
        f"{sum(campaign.occurrences.values()):,} unexplained differences"
    )


def _as_data(campaign: Campaign) -> dict[str, object]:
    return {
        "mode": campaign.mode,
        "cases": campaign.cases,
        "instructions": campaign.instructions,
        "explained": campaign.reasons,
        "differences": [
            {"cause": cause, "count": campaign.occurrences[cause], "case": str(difference)}
            for cause, difference in campaign.differences.items()
        ],
    }


@click.command()
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--mode", type=click.Choice(MODES), help="Only this mode; all in turn otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(seconds: float, seed: int, mode: Mode | None, as_json: bool) -> None:
    """Compare the core with Unicorn on random instruction sequences, for SECONDS in each mode.

    A seed gives the same cases in the same order.

    Exit status: 0 when every difference is explained, 1 otherwise, 2 for bad input.
    """
    modes: tuple[Mode, ...] = (mode,) if mode else MODES
    with Progress(console=Console(stderr=True), transient=True) as progress:
        campaigns = [_run(one, seed, seconds, progress) for one in modes]
    if as_json:
        click.echo(json.dumps([_as_data(campaign) for campaign in campaigns], indent=2))
    else:
        for campaign in campaigns:
            _print(Console(), campaign)
    sys.exit(1 if any(campaign.differences for campaign in campaigns) else 0)


if __name__ == "__main__":
    main()
