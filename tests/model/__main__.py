"""`python -m tests.model`: the wake protocol, explored whole by SPIN."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from tests.model.report import as_data, never_executed, print_report
from tests.model.scenarios import BROKEN, CHECKS, Check
from tests.model.spin import ModelError, Outcome, explore
from tests.model.trail import counterexample, print_trail


def _explore(check: Check) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        return explore(check, Path(folder))


def run(checks: Sequence[Check]) -> Iterator[Outcome]:
    """Small ones side by side, then large ones one by one. Raises ModelError."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        small = [pool.submit(_explore, check) for check in checks if check.quick]
        try:
            for done in as_completed(small):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)
    for check in checks:
        if not check.quick:
            yield _explore(check)


def _show_trail(name: str) -> None:
    check = next(check for check in BROKEN if check.name == name)
    with tempfile.TemporaryDirectory() as folder:
        outcome = explore(check, Path(folder))
        if not outcome.violated:
            click.echo(f"Error: {name} was explored and nothing was lost", err=True)
            sys.exit(1)
        print_trail(counterexample(check, Path(folder)))
    click.echo(f"{outcome.violated}: {check.about}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Only what takes seconds: two vCPUs, and all variants.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([check.name for check in CHECKS]),
    metavar="CHECK",
    help="Only this check; may be given several times.",
)
@click.option(
    "--trail",
    type=click.Choice([check.name for check in BROKEN]),
    metavar="VARIANT",
    help="Show how a broken variant loses a wake, step by step.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(quick: bool, only: tuple[str, ...], trail: str | None, as_json: bool) -> None:
    """Explore the whole model of the wake protocol: the design, and variants without one rule each.

    The design must have no error, a variant the one that its rule prevents, and every statement
    must have been executed.

    \b
    Examples: python -m tests.model --quick
              python -m tests.model --trail NO_WRITER_FENCE

    Exit status: 0 when all is as it must be, 1 otherwise, 2 for bad input or without SPIN.
    """
    checks = [
        check for check in CHECKS if (not only or check.name in only) and (check.quick or not quick)
    ]
    try:
        if trail:
            _show_trail(trail)
            return
        console = Console(stderr=True)
        exploring = track(
            run(checks),
            "exploring",
            total=len(checks),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        found = {outcome.check: outcome for outcome in exploring}
    except ModelError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    outcomes = [found[check] for check in checks]
    unexecuted = [] if only else never_executed(outcomes)
    if as_json:
        click.echo(json.dumps(as_data(outcomes, unexecuted), indent=2))
    else:
        print_report(Console(), outcomes, unexecuted)
    wrong = any(outcome.verdict != "ok" for outcome in outcomes)
    sys.exit(1 if wrong or unexecuted else 0)


if __name__ == "__main__":
    main()
