"""The commands for the shipped guests: `python -m vmm examples`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from vmm.cli.run import run
from vmm.loader import NEEDS, Needs, shipped_guests, source_of, summary_of
from vmm.output import stdout_of

_WIDTH = 100

_NAME = click.argument("name", type=click.Choice(shipped_guests()), metavar="NAME")


class _Examples(click.Group):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As click has it. A guest's name is none of a command, and its user is told which."""
        if cmd_name in shipped_guests():
            choices = f"it is a guest, to show {cmd_name} or to run {cmd_name}"
            raise click.UsageError(f"No such command '{cmd_name}': {choices}.", ctx)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Examples, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def examples(context: click.Context, as_json: bool) -> None:
    """List the shipped guests with what each shows; or show the source of one, or run it.

    \b
    Examples:
      python -m vmm examples
      python -m vmm examples --json
      python -m vmm examples show hello
      python -m vmm examples run smp
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json is for the list: leave it out", context)
        return
    with stdout_of(context):
        if as_json:
            click.echo(json.dumps([_described(name) for name in shipped_guests()], indent=2))
        else:
            click.echo("\n".join(_lines()))


@examples.command()
@_NAME
@click.pass_context
def show(context: click.Context, name: str) -> None:
    """Print the source of guest NAME.

    \b
    Examples:
      python -m vmm examples show hello
      python -m vmm examples show hello > mine.S
    """
    with stdout_of(context):
        click.echo(source_of(name).read_text(encoding="utf-8"), nl=False)


@examples.command(
    "run", context_settings={"ignore_unknown_options": True}, options_metavar="[OPTIONS OF run]"
)
@_NAME
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.pass_context
def run_example(context: click.Context, name: str, options: tuple[str, ...]) -> None:
    """Run guest NAME on a machine that has what it needs. Options and exit statuses are those of
    `python -m vmm run`.

    \b
    Examples:
      python -m vmm examples run hello
      python -m vmm examples run pair --idle adaptive --timeout 2
    """
    with run.make_context("run", [name, *options], parent=context.parent) as inner:
        run.invoke(inner)


def _described(name: str) -> dict[str, Any]:
    """A guest in types that JSON knows; `needs` are options of `run`."""
    needs = asdict(NEEDS.get(name, Needs()))
    return {"name": name, "summary": summary_of(name), "source": str(source_of(name)), **needs}


def _lines() -> Iterator[str]:
    """The list for people."""
    names = shipped_guests()
    margin = max(map(len, names)) + 2
    for name in names:
        text = textwrap.wrap(f"{summary_of(name)}{_needs(name)}", _WIDTH - margin)
        for begin, line in zip([name, *[""] * len(text)], text, strict=False):
            yield f"{begin:<{margin}}{line}"


def _needs(name: str) -> str:
    """The options that `run` sets for it."""
    usual, needs = asdict(Needs()), asdict(NEEDS.get(name, Needs()))
    options = [f"--{key} {value}" for key, value in needs.items() if value != usual[key]]
    return f" [{' '.join(options)}]" if options else ""
