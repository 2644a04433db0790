"""The command line: `python -m bench report`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.report import WIDEST, folder, tables, write_report
from bench.laboratory.results import read_results
from vmm.output import BadInput


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the report into this folder; a report that is there is replaced.",
)
def report_command(results: Path, output: Path | None) -> None:
    """Show the results of a sweep: a page with tables and plots.

    DIR/index.html opens in any browser, offline too. Beside it are the plots as SVG, and the data
    as CSV and Parquet. Without -o a table is printed.

    \b
    Examples:
      python -m bench report results.jsonl
      python -m bench report results.jsonl -o report
    """
    try:
        header, found = read_results(results)
        if output is None:
            console = Console()
            console.width = max(console.width, WIDEST)  # no number is cut off
            console.print(tables(found))
            _warn(header.unfinished(len(found)))
            return
        plots = write_report(output, header, found)
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"{output / folder.PAGE}: {len(found)} points, {plots} plots")
    _warn(header.unfinished(len(found)))


def _warn(text: str) -> None:
    if text:
        click.echo(f"Warning: the sweep is {text}", err=True)
