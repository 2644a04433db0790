"""`python -m tests.vectors PATH`: run captured instruction tests on the core."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from tests.vectors import moo
from tests.vectors.report import as_data, print_report
from tests.vectors.runner import Runner


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option(
    "--only", default="", metavar="NAMES", help="Only these files: 80.4,F6 (F6 = its group)."
)
@click.option("--show", type=click.IntRange(0), default=1, help="Failures shown per file.")
def main(path: Path, as_json: bool, only: str, show: int) -> None:
    """Run the MOO captures of PATH, a folder or a .tar.xz.

    Exit status: 0 when all pass, 1 when some fail, 2 for bad input.
    """
    wishes = [wish.strip() for wish in only.split(",") if wish.strip()]
    try:
        files = list(moo.load(path, wishes))
    except moo.MooError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    runner, progress = Runner(), Console(stderr=True)
    outcomes = [
        runner.run(file) for file in track(files, "running", console=progress, transient=True)
    ]
    if as_json:
        click.echo(json.dumps(as_data(outcomes, show), indent=2))
    else:
        print_report(Console(), outcomes, show)
    sys.exit(1 if any(outcome.failures for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
