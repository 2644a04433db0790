"""The help of every command: options are explained, each has an example, and examples are right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import bench.cli
import vmm.cli

PROGRAMS = {"vmm": vmm.cli.cli, "bench": bench.cli.cli}


def commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """All of them with their names, those inside groups too."""
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = {
    name: command
    for program, group in PROGRAMS.items()
    for name, command in commands(group, (program,))
}


def examples(command: click.Command) -> list[str]:
    """The lines of its help that a user can type, without what is the same in all."""
    return re.findall(r"^ *python -m (.+)$", command.help or "", re.MULTILINE)


def options() -> Iterator[tuple[str, click.Option]]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield name, parameter


def test_the_commands_are_there() -> None:
    vmm_commands = {"vmm run", "vmm asm", "vmm info", "vmm caps", "vmm examples show"}
    assert set(COMMANDS) >= vmm_commands | {"bench lab", "bench core", "bench wake"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained(name: str) -> None:
    program, *words = name.split()
    result = CliRunner().invoke(PROGRAMS[program], [*words, "--help"])
    assert result.exit_code == 0
    assert examples(COMMANDS[name]), "its help has no example"
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("name", "option"), [pytest.param(*each, id=f"{each[0]} {each[1].name}") for each in options()]
)
def test_every_option_is_explained_and_has_an_example(name: str, option: click.Option) -> None:
    assert option.help
    assert option.help[0].isupper()
    used = {word for line in examples(COMMANDS[name]) for word in shlex.split(line)}
    assert used & set(option.opts), f"no example of {name} has {option.opts[-1]}"


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=line) for each in COMMANDS.values() for line in examples(each)]
)
def test_every_example_can_be_typed(line: str) -> None:
    """It is parsed, not run: guests in it need not exist."""
    parse(shlex.split(line.partition(" > ")[0]))


def parse(words: list[str]) -> None:
    """Raises what click does for options and values that a command does not take."""
    name = next(each for n in (3, 2) if (each := " ".join(words[:n])) in COMMANDS)
    COMMANDS[name].make_context(name, words[len(name.split()) :])


def test_parse_tells_what_is_wrong() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        parse(["vmm", "run", "hello", "--frobnicate"])
    with pytest.raises(click.UsageError, match="is not one of"):
        parse(["vmm", "examples", "show", "hallo"])
