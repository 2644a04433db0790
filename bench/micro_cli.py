"""The command line: `python -m bench micro`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import micro
from bench.environment import environment
from bench.units import duration
from vmm.output import BadInput

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130


@click.command("micro")
@click.option(
    "--accept",
    is_flag=True,
    help="Measure nothing: have the last run that was stored be what later ones are held against.",
)
@click.option(
    "--store",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".benchmarks"),
    show_default=True,
    metavar="FOLDER",
    help="Where runs are stored.",
)
@click.pass_context
def micro_command(context: click.Context, accept: bool, folder: Path) -> None:
    """Run the micro-benchmarks, store the run, and compare it with the accepted one.

    The first run on a host is accepted as it is. A benchmark whose least time is longer than the
    accepted one's by more than 15 %, or 50 % where the host's scheduler has a part, is run twice
    more. If its least time stays beyond the bound, it is a regression: exit status 1. Exit status
    130 after Ctrl-C, with nothing stored.

    \b
    Examples:
      python -m bench micro
      python -m bench micro --accept
      python -m bench micro --store runs
    """
    store = micro.Store(folder)
    try:
        if accept:
            click.echo(f"accepted: {store.accept().path}")
            return
        store.runs()  # a damaged one is better found now than after the measurement
        failed = _measure(store)
    except KeyboardInterrupt:
        context.exit(_INTERRUPTED)
    except micro.MicroError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write into {folder}: {error.strerror}") from None
    if failed:
        context.exit(1)


def _measure(store: micro.Store) -> bool:
    """Whether there is a regression."""
    where = environment("python -m bench micro")
    reference = store.reference(micro.host_of(asdict(where)))
    cases = micro.measure()
    if reference is None:
        path = store.add(cases, where, accepted=True)
        click.echo(f"the first run on this host, accepted as it is: {path}")
        return False
    for _ in range(micro.AGAIN):
        slower = micro.regressions(micro.compare(cases, reference.cases))
        if not slower:
            break
        click.echo(f"once more, as they were slower: {len(slower)}")
        cases = micro.quicker(cases, micro.measure(change.name for change in slower))
    changes = micro.compare(cases, reference.cases)
    slower = micro.regressions(changes)
    path = store.add(cases, where, accepted=False)
    console = Console()
    console.print(_table(changes))
    click.echo(f"stored: {path}; held against {reference.path}")
    if slower:
        names = ", ".join(change.name.rpartition("::")[2] for change in slower)
        click.echo(
            f"slower than accepted: {names}. If that is wanted: python -m bench micro --accept",
            err=True,
        )
    return bool(slower)


def _table(changes: Sequence[micro.Change]) -> Table:
    shown = Table()
    shown.add_column("benchmark", overflow="fold")
    for heading in ("accepted", "now", "change", "bound"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for change in changes:
        shown.add_row(
            change.name.rpartition("::")[2],
            duration(change.reference * 1e9),
            duration(change.case.seconds * 1e9),
            f"{change.share:+.1%}",
            "-" if change.case.peer else f"{change.case.bound:+.0%}",
            style="bold red" if change.regression else None,
        )
    return shown
