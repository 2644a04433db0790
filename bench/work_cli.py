"""The command line: `python -m bench work`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from bench import work
from bench.engines import EngineError
from bench.environment import environment
from bench.output import document
from vmm import EXECUTORS, AssemblyError

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130

_DEFAULT = work.Settings()

#: Columns that a table needs for its numbers to be whole.
_WIDEST = 150


@click.command("work")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--executor",
    "executors",
    type=click.Choice(list(EXECUTORS)),
    multiple=True,
    help="Measure this one only. Repeatable.  [default: all]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 3600),
    default=_DEFAULT.seconds,
    show_default=True,
    help="Length of each row's measurement.",
)
@click.option(
    "--tasks-per-second",
    type=click.FloatRange(1, 100_000),
    default=_DEFAULT.tasks_per_second,
    show_default=True,
    help="Short tasks that the VMM gets to do.",
)
@click.pass_context
def work_command(
    context: click.Context,
    as_json: bool,
    executors: tuple[str, ...],
    seconds: float,
    tasks_per_second: float,
) -> None:
    """Measure deferred work: who does it, what it waits for, and how it delays a guest that wakes.

    An idle guest is woken every millisecond while its VMM has short tasks and long work to do; a
    noisy one never idles. Exit status 130 after Ctrl-C, with what was measured so far.

    \b
    Examples:
      python -m bench work
      python -m bench work --seconds 10 --tasks-per-second 2000
      python -m bench work --executor vcpu --json > work.json
    """
    rows: list[work.Row] = []
    failure: Exception | None = None
    interrupted = False
    try:
        for row in work.run(
            work.Settings(seconds, tasks_per_second), executors or tuple(EXECUTORS)
        ):
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    except (AssemblyError, EngineError) as error:
        failure = error
    if as_json:
        command = "python -m bench work" + "".join(f" --executor {name}" for name in executors)
        command += f" --seconds {seconds:g} --tasks-per-second {tasks_per_second:g}"
        figures = [asdict(row) for row in rows]
        click.echo(json.dumps(document("work", environment(command), rows=figures), indent=2))
    elif rows:
        console = Console()
        console.width = max(console.width, _WIDEST)  # no number is cut off
        console.print(_table(rows))
        console.print(
            f"Times in us. Longest slice {rows[0].slice_ns / 1e3:,.0f}, fallback bound"
            f" {rows[0].bound_ns / 1e3:,.0f}. held: how long a vCPU was out of its guest for work."
        )
    if failure is not None:
        raise click.ClickException(str(failure))
    if interrupted:
        context.exit(_INTERRUPTED)


def _table(rows: Sequence[work.Row]) -> Table:
    shown = Table()
    for heading in ("guest", "MWAIT is", "work by"):
        shown.add_column(heading)
    for heading in (
        "wakes",
        "wake p50",
        "p99",
        "max",
        "tasks",
        "task p50",
        "p99",
        "max",
        "held p50",
        "p99",
        "max",
        "in work",
        "guest MIPS",
    ):
        shown.add_column(heading, justify="right")
    before = None
    for row in rows:
        if before is not None and (row.guest, row.policy) != before:
            shown.add_section()
        before = (row.guest, row.policy)
        shown.add_row(
            row.guest,
            row.policy,
            row.executor,
            f"{row.wakes:,}" if row.wakes else "",
            *map(_us, (row.wake_p50_ns, row.wake_p99_ns, row.wake_max_ns)),
            f"{row.tasks:,}" if row.tasks else "",
            *map(_us, (row.task_p50_ns, row.task_p99_ns, row.task_max_ns)),
            *map(_us, (row.held_p50_ns, row.held_p99_ns, row.held_max_ns)),
            f"{row.work_share:.0%}",
            f"{row.guest_mips:,.1f}",
        )
    return shown


def _us(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else f"{nanoseconds / 1e3:,.0f}"
