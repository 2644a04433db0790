"""The command line: `python -m bench wake`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from bench import wake
from bench.engines import EngineError
from bench.environment import environment
from bench.output import document
from vmm import AssemblyError

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130

_DEFAULT = wake.Settings()


@click.command("wake")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    default=_DEFAULT.repeats,
    show_default=True,
    help="Turns for each figure; the best one counts.",
)
@click.option(
    "--waiters",
    type=click.IntRange(1, 1000),
    default=_DEFAULT.waiters,
    show_default=True,
    help="Waiting vCPUs, each on a page of its own, while another one stores.",
)
@click.pass_context
def wake_command(context: click.Context, as_json: bool, repeats: int, waiters: int) -> None:
    """Measure wakes and monitored pages against the bare host and against what is promised.

    Store to resume against a futex and against a spinning flag; MONITOR again on a protected page;
    a store beside a monitored line; the stores of a vCPU beside many that wait. Exit status 1 when
    a promise is not kept, 130 after Ctrl-C, with what was measured so far.

    \b
    Examples:
      python -m bench wake
      python -m bench wake --json --repeats 10 > wake.json
      python -m bench wake --waiters 1000
    """
    rows: list[wake.Row] = []
    failure: Exception | None = None
    interrupted = False
    try:
        for row in wake.run(wake.Settings(repeats=repeats, waiters=waiters)):
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    except (AssemblyError, EngineError) as error:
        failure = error
    if as_json:
        command = f"python -m bench wake --repeats {repeats} --waiters {waiters}"
        figures = [asdict(row) | {"ratio": row.ratio, "within": row.within} for row in rows]
        click.echo(json.dumps(document("wake", environment(command), figures=figures), indent=2))
    else:
        Console().print(_table(rows))
    if failure is not None:
        raise click.ClickException(str(failure))
    if interrupted:
        context.exit(_INTERRUPTED)
    if not all(row.within for row in rows):
        context.exit(1)


def _table(rows: Sequence[wake.Row]) -> Table:
    shown = Table()
    shown.add_column("figure")
    for heading in ("measured", "against", "ratio", "promised"):
        shown.add_column(heading, justify="right")
    for row in rows:
        bound = f"{'>=' if row.at_least else '<='} {row.bound:g}"
        shown.add_row(
            row.name,
            f"{row.value:,.0f} {row.unit}",
            f"{row.against} {row.reference:,.0f}",
            f"{row.ratio:.2f}",
            bound,
            style=None if row.within else "bold red",
        )
    return shown
