"""`python -m vmm examples`: the shipped guests, listed, shown and run."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from vmm.asm import GUESTS
from vmm.cli import cli
from vmm.loader import NEEDS, LoadError, shipped_guests, source_of, summary_of

#: Those that end by themselves, with status 0.
ENDING = sorted(set(shipped_guests()) - {"pair"})


def invoke(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, ["examples", *arguments], input=typed)


def test_the_list_has_every_guest_with_what_it_shows() -> None:
    result = invoke()
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.splitlines() if line[0] != " "]
    assert listed == [source.stem for source in sorted(GUESTS.glob("*.S"))]
    assert "hello      The smallest guest that says something" in result.stdout
    assert "[--vcpus 4 --start bootstrap]" in " ".join(result.stdout.split())


def test_the_list_as_json() -> None:
    guests = {each["name"]: each for each in json.loads(invoke("--json").stdout)}
    assert list(guests) == shipped_guests()
    assert guests["smp"]["vcpus"] == 4
    assert guests["idle"]["tick"] == 10
    assert guests["hello"]["summary"] == summary_of("hello")


@pytest.mark.parametrize("name", shipped_guests())
def test_every_source_begins_with_what_it_shows(name: str) -> None:
    summary = summary_of(name)
    assert summary.endswith(".")
    assert 20 < len(summary) < 200
    assert f"// {summary[:20]}" in source_of(name).read_text().splitlines()[0]


def test_needs_are_of_guests_that_are_there() -> None:
    assert set(NEEDS) <= set(shipped_guests())


def test_no_such_guest() -> None:
    with pytest.raises(LoadError, match=r"no guest 'hallo' .*hello, idle"):
        source_of("hallo")


@pytest.mark.parametrize("name", shipped_guests())
def test_show_prints_the_source(name: str) -> None:
    result = invoke("show", name)
    assert (result.exit_code, result.stdout) == (0, (GUESTS / f"{name}.S").read_text())


@pytest.mark.parametrize("name", ENDING)
def test_run(name: str) -> None:
    result = invoke("run", name, "--timeout", "60", typed="typed\4")
    assert result.exit_code == 0, result.stderr
    assert result.stdout


def test_run_takes_the_options_of_run() -> None:
    result = invoke("run", "pair", "--timeout", "0.1", "--json")
    assert result.exit_code == 124
    assert len(json.loads(result.stdout)["vcpus"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "hallo"], "'hallo' is not one of 'hello', 'idle'"),
        (["run", "hallo"], "'hallo' is not one of 'hello', 'idle'"),
        (["run", "vmm/guests/hello.S"], "is not one of"),
        (["run"], "Missing argument 'NAME'"),
        (["run", "hello", "--frobnicate"], "No such option"),
        (["run", "hello", "--vcpus", "0"], "0 is not in the range"),
        (["--json", "show", "hello"], "--json is for the list"),
        (["hello"], "No such command 'hello'"),
    ],
)
def test_misuse(arguments: list[str], says: str) -> None:
    result = invoke(*arguments)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert result.stderr.count("Error: ") == 1
