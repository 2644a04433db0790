"""`run --clock virtual`, `--save` and `--restore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vmm.cli import cli

VIRTUAL = ["--clock", "virtual", "--timeout", "20"]


def test_every_run_prints_the_same_hash() -> None:
    arguments = ["run", "idle", "--tick", "10", *VIRTUAL]
    first, second = (CliRunner().invoke(cli, arguments) for _ in range(2))
    assert first.exit_code == 0
    assert "500,000,000 ns of guest time, trace hash " in first.stderr
    assert first.stderr.splitlines()[-1] == second.stderr.splitlines()[-1]


def test_json_has_the_hash_as_digits() -> None:
    runs = [CliRunner().invoke(cli, ["run", "idle", *VIRTUAL, "--json"]) for _ in range(2)]
    first, second = (json.loads(run.stdout) for run in runs)
    assert len(first["trace_hash"]) == 16
    assert first["trace_hash"] == second["trace_hash"]
    assert first["guest_ns"] == 500_000_000
    wall = CliRunner().invoke(cli, ["run", "hello", "--json"])
    assert json.loads(wall.stdout)["trace_hash"] is None


def test_saved_half_way_it_ends_the_same(tmp_path: Path) -> None:
    file = str(tmp_path / "half")
    whole = CliRunner().invoke(cli, ["run", "idle", *VIRTUAL])
    limit = ["--max-instructions", "100", "--save", file]
    head = CliRunner().invoke(cli, ["run", "idle", *VIRTUAL, *limit])
    assert head.exit_code == 125
    tail = CliRunner().invoke(cli, ["run", "--restore", file, "--timeout", "20"])
    assert tail.exit_code == 0
    assert head.stdout + tail.stdout == whole.stdout
    assert tail.stderr.splitlines()[-1] == whole.stderr.splitlines()[-1]


def test_input_for_a_saved_machine(tmp_path: Path) -> None:
    file, late = str(tmp_path / "saved"), tmp_path / "late.txt"
    late.write_bytes(b"and more\x04")
    limit = ["--max-instructions", "1000", "--save", file]
    head = CliRunner().invoke(cli, ["run", "serial", *VIRTUAL, *limit], input="")
    assert head.exit_code == 125
    tail = CliRunner().invoke(cli, ["run", "--restore", file, "--input", str(late)])
    assert tail.exit_code == 0
    assert "AND MORE" in head.stdout + tail.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'GUEST', or --restore FILE"),
        (["hello", "--turn", "0"], "0 is not in the range"),
        (["hello", "--clock", "sand"], "'sand' is not one of 'wall', 'virtual'"),
        (["hello", "--clock", "virtual", "--trace"], "no trace of a machine with virtual time"),
        (["--restore", "pyproject.toml"], "pyproject.toml is not a saved machine"),
        (["--restore", "none"], "cannot read none: No such file"),
        (["--restore", "none", "--memory", "1M"], "leave out --memory"),
        (["hello", "--restore", "none"], "leave out GUEST"),
        (["hello", "--save", "none/there"], "cannot save the machine in none/there"),
    ],
)
def test_misuse(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["run", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
