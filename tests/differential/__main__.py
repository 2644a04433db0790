"""`python -m tests.differential`: random instruction sequences against Unicorn."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import Progress

from tests.differential.agreement import Comparison, Difference
from tests.differential.disassembly import MODES, Mode
from tests.differential.generate import Generator
from tests.differential.shrink import minimal

#: Different differences after which a run gives up: more would not be read.
_ENOUGH = 20


@dataclass(slots=True)
class Campaign:
    """What a run of cases came to."""

    mode: Mode
    cases: int = 0
    instructions: int = 0
    #: How often each known fault of Unicorn, or other reason, accounted for a difference.
    reasons: Counter[str] = field(default_factory=Counter)
    #: A minimal example and a count for each cause.
    differences: dict[str, Difference] = field(default_factory=dict)
    occurrences: Counter[str] = field(default_factory=Counter)


def run(
    mode: Mode,
    seed: int,
    *,
    seconds: float = math.inf,
    cases: float = math.inf,
    progress: Progress | None = None,
) -> Campaign:
    """Compare cases 0, 1, 2, ... of a seed until so many or enough differences, or for so long."""
    comparison, generator, campaign = Comparison(mode), Generator(mode, seed), Campaign(mode)
    task = progress.add_task(mode, total=seconds) if progress else None
    start = time.monotonic()
    while (
        (elapsed := time.monotonic() - start) < seconds
        and campaign.cases < cases
        and len(campaign.differences) < _ENOUGH
    ):
        before = comparison.core.instructions
        verdict = comparison.compare(generator.case(campaign.cases))
        campaign.cases += 1
        campaign.instructions += comparison.core.instructions - before
        campaign.reasons.update(verdict.reasons)
        if verdict.difference is not None:
            cause = verdict.difference.cause
            campaign.occurrences[cause] += 1
            if cause not in campaign.differences:
                campaign.differences[cause] = minimal(comparison, verdict.difference)
        if progress and task is not None:
            progress.update(task, completed=elapsed)
    return campaign


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
@click.option("--mode", type=click.Choice(MODES), help="Only this mode; both in turn otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(seconds: float, seed: int, mode: Mode | None, as_json: bool) -> None:
    """Compare the core with Unicorn on random instruction sequences, for SECONDS in each mode.

    A seed gives the same cases in the same order.

    Exit status: 0 when every difference is explained, 1 otherwise, 2 for bad input.
    """
    modes: tuple[Mode, ...] = (mode,) if mode else MODES
    with Progress(console=Console(stderr=True), transient=True) as progress:
        campaigns = [run(one, seed, seconds=seconds, progress=progress) for one in modes]
    if as_json:
        click.echo(json.dumps([_as_data(campaign) for campaign in campaigns], indent=2))
    else:
        for campaign in campaigns:
            _print(Console(), campaign)
    sys.exit(1 if any(campaign.differences for campaign in campaigns) else 0)


if __name__ == "__main__":
    main()
