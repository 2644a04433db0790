"""The command line: `python -m bench quick`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.report import WIDEST, require, tables, write_report
from bench.laboratory.results import read_results
from bench.laboratory.sweep.definition import load
from bench.sweep_cli import everything, on_this_host, run_sweep
from vmm.output import BadInput

_SWEEP = "quick"


@click.command("quick")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=Path("build/laboratory"),
    show_default=True,
    help="Where the results and the report go; what stood there of an earlier run is replaced.",
)
@click.pass_context
def quick_command(context: click.Context, output: Path) -> None:
    """Run the laboratory in a few minutes: main scenarios under all policies, on this host.

    Prints the comparison, and writes DIR/results.jsonl and DIR/report/index.html. Exit status 1
    when points failed; 130 after Ctrl-C, and the same command goes on from there.

    \b
    Example:
      python -m bench quick -o build/laboratory
    """
    results, unfinished = output / "results.jsonl", output / "unfinished.jsonl"
    report = output / "report"
    try:
        require(report)
        catalogue = everything()
        sweep = load(_SWEEP, catalogue)
        output.mkdir(parents=True, exist_ok=True)
        ran = run_sweep(context, sweep, unfinished, on_this_host(sweep, catalogue, jobs=1))
        unfinished.replace(results)
        header, found = read_results(results)
        console = Console()
        console.width = max(console.width, WIDEST)  # no number is cut off
        console.print(tables(found))
        write_report(report, header, found)
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write into {output}: {error.strerror}") from None
    click.echo(f"\nThe report: {report / 'index.html'}")
    click.echo(f"The results: {results}")
    if ran.failed:
        raise click.ClickException(f"{ran.failed} points failed")
