"""`python -m tests.stress`: handoffs between real threads, every one of them counted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tests.stress.campaign import OnProgress, Settings, Tally, run
from tests.stress.layout import MOST_VCPUS
from tests.stress.report import as_data, print_report

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130


@contextmanager
def _progress(seconds: float) -> Iterator[OnProgress]:
    """Gives a function that shows phase, handoffs and losses on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=seconds)

        def show(phase: int, handoffs: int, lost: int) -> None:
            text = f"phase {phase}: {handoffs:,} handoffs, {lost:,} lost"
            bar.update(task, description=text, completed=time.monotonic() - start)

        yield show


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds", type=click.IntRange(1), default=60, show_default=True, help="How long it takes."
)
@click.option(
    "--vcpus",
    type=click.IntRange(2, MOST_VCPUS),
    default=4,
    show_default=True,
    help="In a phase at the most; may be more than the host has cores.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Gives the same phases in the same order; what their threads do is up to the host.",
)
@click.option(
    "--phase",
    type=click.IntRange(0),
    help="Only this phase of the seed, again and again.",
)
@click.option(
    "--patience",
    type=click.IntRange(10),
    default=2000,
    show_default=True,
    metavar="MS",
    help="Milliseconds of sleep after which a wake is lost.",
)
@click.option(
    "--sabotage",
    type=click.Choice(["look-before-monitor"]),
    help="Run guests that lose wakes by their own fault, to see that it is found.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(
    seconds: int,
    vcpus: int,
    seed: int,
    phase: int | None,
    patience: int,
    sabotage: str | None,
    as_json: bool,
) -> None:
    """Pass tokens between vCPUs that idle in MONITOR and MWAIT, and find wakes that are lost.

    Phase after phase, drawn from the seed: kinds of store, boundaries of lines and pages, policies,
    disturbances. Each token is one store; a vCPU that sleeps on although it has been stored to is
    reported with the state of all, and kicked.

    Exit status: 0 when no wake was lost, 1 otherwise, 2 for bad input, 130 after Ctrl-C.

    \b
    Examples:
      python -m tests.stress --seconds 600 --vcpus 8
      python -m tests.stress --seed 7 --phase 31
      python -m tests.stress --seconds 5 --patience 200 --sabotage look-before-monitor
    """
    settings = Settings(
        seconds=seconds,
        vcpus=vcpus,
        seed=seed,
        phase=phase,
        patience_ns=patience * 1_000_000,
        look_before_monitor=sabotage is not None,
    )
    tally = Tally()
    interrupted = False
    try:
        with _progress(seconds) as on_progress:
            run(settings, tally, on_progress)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        click.echo(json.dumps(as_data(settings, tally), indent=2))
    else:
        print_report(Console(), settings, tally)
    sys.exit(_INTERRUPTED if interrupted else 1 if tally.incidents else 0)


if __name__ == "__main__":
    main()
