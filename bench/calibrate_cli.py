"""The command line: `python -m bench calibrate` and `python -m bench costs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.engines import EngineError
from bench.environment import environment
from bench.laboratory.costs import COSTS, Preset, load_preset, preset_names, write_preset
from bench.laboratory.costs.calibration import PROBES, Probe, Settings, fit, time_all
from bench.laboratory.parameter import LaboratoryError
from bench.new_file import NewFile
from bench.output import document
from vmm import AssemblyError
from vmm.output import BadInput

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130

_DEFAULT = Settings()


@click.command("calibrate")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "-o",
    "--output",
    type=NewFile(".toml"),
    metavar="FILE.toml",
    help="Write the cost table there, for a sweep to name.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    default=_DEFAULT.repeats,
    show_default=True,
    help="Times that each probe is timed; the least counts.",
)
@click.pass_context
def calibrate_command(
    context: click.Context, as_json: bool, output: Path | None, repeats: int
) -> None:
    """Measure what the emulator itself costs on this host, as a cost table of virtual time.

    Exits, the VMM's loop, write faults, MONITOR, wakes by futex, IPIs, instructions and the rest.
    The host should have nothing else to do. Exit status 130 after Ctrl-C, with nothing written.

    \b
    Examples:
      python -m bench calibrate
      python -m bench calibrate -o here.toml
      python -m bench calibrate --json --repeats 20 > costs.json
    """
    where = environment(f"python -m bench calibrate --repeats {repeats}")
    try:
        with _progress(len(PROBES)) as show:
            times = time_all(PROBES, Settings(repeats), show)
        name = output.stem if output else "calibrated"
        preset = fit(name, f"this emulator on {where.cpu}, timed", times, where)
        if output:
            write_preset(output, preset)
    except KeyboardInterrupt:
        context.exit(_INTERRUPTED)
    except (AssemblyError, EngineError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
    if as_json:
        parts = {"preset": _as_dict(preset), "times_ns": times}
        click.echo(json.dumps(document("calibrate", where, **parts), indent=2))
    else:
        Console().print(_table(preset))


@click.command("costs")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def costs_command(name: str | None, as_json: bool) -> None:
    """List the cost tables of virtual time, or show the one called NAME, or in the file NAME.toml.

    \b
    Examples:
      python -m bench costs
      python -m bench costs bare-metal
      python -m bench costs here.toml --json
    """
    try:
        presets = [load_preset(each) for each in ([name] if name else preset_names())]
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    if as_json:
        shown = [_as_dict(preset) for preset in presets]
        click.echo(json.dumps(shown[0] if name else shown, indent=2))
    elif name:
        Console().print(_table(presets[0]))
        click.echo(_sources(presets[0]))
    else:
        for preset in presets:
            click.echo(f"{preset.name:12}  {preset.summary}")


def _as_dict(preset: Preset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "summary": preset.summary,
        "costs_ns": asdict(preset.costs),
        "sources": dict(preset.sources),
    }


def _table(preset: Preset) -> Table:
    shown = Table(title=f"{preset.name}: {preset.summary}")
    shown.add_column("cost", no_wrap=True)
    shown.add_column("ns", justify="right", no_wrap=True)
    shown.add_column("covers")
    for cost in COSTS:
        value = getattr(preset.costs, cost.name)
        number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        shown.add_row(cost.name, number, cost.summary)
    return shown


def _sources(preset: Preset) -> str:
    """Where each number comes from, a line each."""
    return "\n".join(f"{cost.name}: {preset.sources[cost.name]}" for cost in COSTS)


@contextmanager
def _progress(probes: int) -> Iterator[Callable[[Probe], None]]:
    """Shows on stderr which probe is timed: a bar on a terminal, elsewhere a line for each."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    begun = 0
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=probes)

        def show(probe: Probe) -> None:
            nonlocal begun
            bar.update(task, description=probe.name, completed=begun)
            begun += 1
            if not console.is_terminal:
                line = f"[{begun}/{probes}] {probe.summary}"
                console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield show
