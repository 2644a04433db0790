"""The command line: `python -m bench lab` and `python -m bench core`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import core, core_report, lab, lab_report
from bench.affinity import pinned
from bench.calibrate_cli import calibrate_command, costs_command
from bench.engines import EngineError
from bench.environment import environment
from bench.figures_cli import figures_command
from bench.laboratory.report.command import report_command
from bench.micro_cli import micro_command
from bench.new_file import NewFile
from bench.output import document, write_whole
from bench.progress import lab_progress
from bench.quick_cli import quick_command
from bench.scenarios_cli import scenarios_command
from bench.sweep_cli import sweep_command
from bench.wake_cli import wake_command
from bench.work_cli import work_command
from vmm import AssemblyError
from vmm.output import BadInput

#: As a shell reports a process that SIGINT ended.
INTERRUPTED = 130

_LAB = lab.Settings()
_CORE = core.Settings()


class _Seconds(click.FloatRange):
    """A length of time or a rate; FloatRange alone lets "nan" and "inf" pass."""

    name = "seconds"

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{seconds} is not a length of time", param, ctx)
        return seconds


class _Policies(click.ParamType[tuple[str, ...]]):
    """Names of idle policies with commas between them, in the order given, each once."""

    name = "policies"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",")))
        for name in names:
            if name not in lab.POLICIES:
                known = ", ".join(lab.POLICIES)
                self.fail(f"unknown policy {name!r}: choose from {known}", param, ctx)
        return names


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The laboratory of idle guests, and the core's benchmarks.

    \b
    Example:
      python -m bench lab --policies exit,fault --seconds 2
    """


cli.add_command(quick_command)
cli.add_command(report_command)
cli.add_command(scenarios_command)
cli.add_command(sweep_command)
cli.add_command(wake_command)
cli.add_command(work_command)
cli.add_command(calibrate_command)
cli.add_command(costs_command)
cli.add_command(micro_command)
cli.add_command(figures_command)


@cli.command("lab")
@click.option(
    "--policies",
    type=_Policies(),
    default=",".join(lab.POLICIES),
    show_default=True,
    metavar="NAME,...",
    help="Which policies for MWAIT to compare.",
)
@click.option(
    "--seconds",
    type=_Seconds(min=0, min_open=True),
    default=_LAB.seconds,
    show_default=True,
    help="Length of each phase with wakes; there are two for each policy.",
)
@click.option(
    "--quiet-seconds",
    type=_Seconds(min=0, min_open=True, max=lab.LONGEST_QUIET_SECONDS),
    default=_LAB.quiet_seconds,
    show_default=True,
    help="Length of the third phase, in which nobody wakes.",
)
@click.option(
    "--handoffs",
    type=click.IntRange(min=0),
    default=_LAB.handoffs,
    show_default=True,
    help="Handoffs that passthrough, fault and adaptive, which could lose one, make back to back at"
    " the least, even if it takes up to ten times as long.",
)
@click.option(
    "--false-stores",
    type=click.IntRange(0, 1_000_000),
    default=_LAB.false_stores,
    show_default=True,
    help="Stores to another line of the monitored page before each wake.",
)
@click.option(
    "--tasks-per-second",
    metavar="RATE",
    type=_Seconds(min=0, min_open=True, max=100_000),
    default=_LAB.tasks_per_second,
    show_default=True,
    help="Deferred tasks that the VMM gets to do in idle time.",
)
@click.option(
    "--json",
    "json_file",
    type=NewFile(),
    metavar="FILE",
    help="Write the rows there too.",
)
@click.pass_context
def lab_command(
    context: click.Context,
    policies: tuple[str, ...],
    seconds: float,
    quiet_seconds: float,
    handoffs: int,
    false_stores: int,
    tasks_per_second: float,
    json_file: Path | None,
) -> None:
    """Compare ways of handling MWAIT on a guest pair.

    One vCPU idles, another wakes it by a store: back to back, 1 ms apart, and not at all. Exit
    status 130 after Ctrl-C, with what was measured so far.

    \b
    Examples:
      python -m bench lab
      python -m bench lab --policies nop,fault --seconds 2 --json rows.json
      python -m bench lab --policies fault --handoffs 1000000 --false-stores 0
      python -m bench lab --quiet-seconds 3 --tasks-per-second 1000
    """
    settings = lab.Settings(seconds, quiet_seconds, handoffs, false_stores, tasks_per_second)
    rows: list[lab.Row] = []
    interrupted = False
    failure: Exception | None = None
    try:
        with lab_progress(phases=len(lab.PHASES) * len(policies)) as on_progress:
            for row in lab.run(policies, settings, on_progress):
                rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    except (AssemblyError, lab.LabError) as error:
        failure = error
    if rows:
        console = Console()
        console.width = max(console.width, lab_report.WIDEST)  # no number is cut off
        console.print(lab_report.tables(rows))
    if json_file:
        options = {"policies": ",".join(policies)} | asdict(settings)
        parts = {"settings": options, "rows": [asdict(row) for row in rows]}
        _write(json_file, document("lab", environment(_command("lab", options)), **parts))
    _finish(context, interrupted, failure)


@cli.command("core")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=_CORE.repeats,
    show_default=True,
    help="Turns for each figure; the best one counts.",
)
@click.option(
    "--seconds",
    type=_Seconds(min=0, min_open=True),
    default=_CORE.seconds,
    show_default=True,
    help="Length of a turn of the parallel vCPUs.",
)
@click.option(
    "--exits",
    type=click.IntRange(1, 100_000_000),
    default=_CORE.exits,
    show_default=True,
    help="Idle exits in a turn.",
)
@click.option("--no-peer", is_flag=True, help="Measure x86core alone, without Unicorn.")
@click.pass_context
def core_command(
    context: click.Context,
    as_json: bool,
    repeats: int,
    seconds: float,
    exits: int,
    no_peer: bool,
) -> None:
    """Measure the core side by side with Unicorn.

    Guest instructions per second on four loops, in real mode, on a large program and under paging,
    bytes per nanosecond of string instructions, the time of interrupts, page faults and TLB misses,
    idle exits per second, and two vCPUs in parallel. All but the last on one CPU. Exit status 130
    after Ctrl-C, with what was measured so far.

    \b
    Examples:
      python -m bench core
      python -m bench core --json --repeats 5 > core.json
      python -m bench core --no-peer --exits 2000000 --seconds 2
    """
    settings = core.Settings(repeats, exits, seconds, peer=not no_peer)
    peer = None
    if settings.peer:
        try:
            peer = core.require_peer()
        except core.PeerMissingError as error:
            raise BadInput(str(error)) from None
    rows: list[core.Row] = []
    interrupted, cpu = False, None
    failure: Exception | None = None
    try:
        with pinned() as cpu:
            for row in core.run(settings):
                rows.append(row)
        rows.append(core.measure_parallel(settings))
    except KeyboardInterrupt:
        interrupted = True
    except (AssemblyError, EngineError) as error:
        failure = error
    if as_json:
        options = {"repeats": repeats, "seconds": seconds, "exits": exits, "no_peer": no_peer}
        where = environment(_command("core", options))
        parts = core_report.parts(rows) | {"pinned_to_cpu": cpu, "unicorn": peer}
        click.echo(json.dumps(document("core", where, **parts), indent=2))
    else:
        Console().print(core_report.tables(rows, cpu))
    _finish(context, interrupted, failure)


def _command(name: str, options: Mapping[str, object]) -> str:
    """The command that does the same again, without any file's name."""
    words = ["python -m bench", name]
    for option, value in options.items():
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not False:
            words.append(f"{flag} {value}")
    return " ".join(words)


def _write(path: Path, contents: dict[str, Any]) -> None:
    try:
        write_whole(path, contents)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def _finish(context: click.Context, interrupted: bool, failure: Exception | None) -> None:
    if failure is not None:
        raise click.ClickException(str(failure))
    if interrupted:
        context.exit(INTERRUPTED)
