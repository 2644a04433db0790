"""The command line: `python -m bench figures`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bench.laboratory.figures import fill
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.results import read_results
from vmm.output import BadInput


@click.command("figures")
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("page", type=click.Path(path_type=Path))
def figures_command(results: Path, page: Path) -> None:
    """Put figures of RESULTS into the tables of the Markdown file PAGE.

    A table says in a comment above it what it shows; bench/laboratory/figures.py has the rules.
    Tables of wall time are left alone when RESULTS are of virtual time, and the other way round.

    \b
    Example:
      python -m bench sweep answers -o answers.jsonl
      python -m bench figures answers.jsonl docs/answers.md
    """
    try:
        text = page.read_text()
        filled = fill(text, read_results(results)[1])
        _replace(page, filled)
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise BadInput(f"cannot read or write {page}: {reason}") from None
    click.echo(f"{page}: {'as it was' if filled == text else 'new figures'}")


def _replace(page: Path, text: str) -> None:
    """All or nothing."""
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(page)
    finally:
        temporary.unlink(missing_ok=True)
