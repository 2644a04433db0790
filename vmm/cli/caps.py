"""The command that says what this VMM can do: `python -m vmm caps`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import click

from vmm.inventory import inventory
from vmm.output import stdout_of

_WIDTH = 100


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def caps(context: click.Context, as_json: bool) -> None:
    """Say what is there: capabilities and exits by KVM's numbers, idle policies, what CPUID offers,
    instructions, limits, kinds of guests with their tools, versions.

    \b
    Examples:
      python -m vmm caps
      python -m vmm caps --json
    """
    found = inventory()
    with stdout_of(context):
        if as_json:
            click.echo(json.dumps(found, indent=2))
        else:
            click.echo("\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield "KVM capabilities"
    yield from _table(
        (str(each["number"]), each["name"], f"{each['value']:#x}")
        for each in found["kvm_capabilities"]
    )
    yield "\nExits"
    yield from _wrapped(f"{number} {name}" for name, number in found["exits"].items())
    for option, instruction in (("idle", "mwait"), ("hlt", "hlt")):
        yield f"\n{instruction.upper()} may be (--{option})"
        yield from _table((each["name"], each["summary"]) for each in found["idle"][instruction])
    yield f"\nCPUID of {found['cpuid']['vendor']}"
    yield from _wrapped(found["cpuid"]["features"])
    yield from _table(
        (", ".join(each["adds"]), f"with --feature {each['feature']}: {each['instructions']}")
        for each in found["cpuid"]["optional"]
    )
    yield f"\nInstructions: {len(found['instructions'])} mnemonics"
    yield from _wrapped(found["instructions"], " ")
    yield "\nLimits"
    limits = found["limits"]
    yield f"  {limits['vcpus']:,} vCPUs, {limits['memory'] >> 20:,}M of memory"
    yield "\nGuests"
    yield from _table((each["format"], _availability(each)) for each in found["guests"])
    yield "\nVersions"
    yield from _table((name, text or "not installed") for name, text in found["versions"].items())


def _availability(kind: dict[str, Any]) -> str:
    if not kind["tools"]:
        return ""
    tools = ", ".join(kind["tools"])
    return f"by {tools}" if kind["available"] else f"needs {tools}: not all are there"


def _table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows as lines with aligned columns."""
    table = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _wrapped(words: Iterable[str], between: str = ", ") -> Iterator[str]:
    """Words on lines of a bounded width; each stays whole."""
    joined = between.join(word.replace(" ", "\0") for word in words)
    for line in textwrap.wrap(joined, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"  {line}".replace("\0", " ")
