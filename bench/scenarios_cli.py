"""The command line: `python -m bench scenarios`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bench.laboratory.parameter import LaboratoryError, Parameter
from bench.laboratory.scenario import Scenario
from vmm.output import BadInput


@click.command("scenarios")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def scenarios_command(name: str | None, as_json: bool) -> None:
    """List the laboratory's scenarios, or show one with its parameters.

    \b
    Examples:
      python -m bench scenarios
      python -m bench scenarios pingpong
      python -m bench scenarios --json
    """
    from bench.laboratory.scenarios import SCENARIOS, find_scenario

    try:
        shown = [find_scenario(name)] if name is not None else list(SCENARIOS.values())
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    if as_json:
        described = [_as_dict(scenario) for scenario in shown]
        click.echo(json.dumps(described if name is None else described[0], indent=2))
    else:
        Console().print(_listing(shown) if name is None else _details(shown[0]))


def _as_dict(scenario: Scenario) -> Mapping[str, Any]:
    return {
        "name": scenario.name,
        "summary": scenario.summary,
        "question": scenario.question,
        "clocks": scenario.clocks,
        "executors_matter": scenario.executors,
        "parameters": [asdict(parameter) for parameter in scenario.parameters],
    }


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=head in ("scenario", "parameter"))
    return table


def _listing(scenarios: Iterable[Scenario]) -> Table:
    table = _table("scenario", "what goes on")
    for scenario in scenarios:
        table.add_row(scenario.name, scenario.summary)
    return table


def _details(scenario: Scenario) -> Group:
    parts: list[Text | Table] = [Text(f"{scenario.name}: {scenario.summary}.", style="bold")]
    parts.append(Text(scenario.question))
    if scenario.executors:
        parts.append(Text("Who does deferred work makes a difference."))
    if len(scenario.clocks) == 1:
        parts.append(Text(f"On the {scenario.clocks[0]} clock only."))
    if scenario.parameters:
        parts += [Text(), _parameters(scenario.parameters)]
    return Group(*parts)


def _parameters(parameters: Iterable[Parameter]) -> Table:
    table = _table("parameter", "default", "range", "unit", "meaning")
    for parameter in parameters:
        limits = f"{parameter.minimum:g}..{parameter.maximum:g}"
        table.add_row(
            parameter.name, f"{parameter.default:g}", limits, parameter.unit, parameter.summary
        )
    return table
