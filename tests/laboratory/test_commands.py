"""`python -m bench sweep`, `scenarios` and `quick`: exit status, words, files.

Most of it in this process, which is quicker, and with made-up engines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.laboratory.results import read_results
from bench.laboratory.scenarios import SCENARIOS
from bench.laboratory.sweep.definition import shipped
from tests.laboratory.fake import CATALOGUE, REFUSED
from tests.support import wait_until

VIRTUAL = 'clock = "virtual"\ncosts = "cheap"\nscenarios = "alpha"\n'
WALL = 'scenarios = "gamma"\nseconds = 0.01\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: with a sweep in virtual time and one in wall time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.sweep_cli.everything", lambda: CATALOGUE)
    monkeypatch.setattr("bench.quick_cli.everything", lambda: CATALOGUE)
    Path("virtual.toml").write_text(VIRTUAL)
    Path("wall.toml").write_text(WALL)
    return tmp_path


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def words(text: str) -> str:
    """Without the line breaks that fit a message to a terminal."""
    return " ".join(text.split())


@pytest.mark.parametrize("command", ["sweep", "scenarios", "quick", "report"])
def test_help_has_an_example(command: str) -> None:
    text = CliRunner().invoke(cli, [command, "--help"], prog_name="python -m bench").stdout
    assert f"python -m bench {command}" in text.split("Example", 1)[1]


def test_help_names_the_shipped_sweeps() -> None:
    assert set(shipped()) >= {"full", "host", "quick"}
    listing = ", ".join(shipped())
    assert f"Sweeps that come with it: {listing}." in words(bench("sweep", "--help").stdout)


@pytest.mark.usefixtures("folder")
def test_sweep_and_again() -> None:
    done = bench("sweep", "virtual.toml", "-o", "results", "--jobs", "2")
    assert (done.exit_code, done.stdout) == (0, "results: 3 points measured, 0 failed\n")
    assert "[3/3] alpha, " in done.stderr
    assert len(read_results(Path("results"))[1]) == 3
    before = Path("results").read_bytes()
    done = bench("sweep", "virtual.toml", "-o", "results")
    assert done.stdout == "results: 0 points measured, 0 failed, 3 were finished before\n"
    assert Path("results").read_bytes() == before


@pytest.mark.usefixtures("folder")
def test_failures_are_told() -> None:
    Path("virtual.toml").write_text(VIRTUAL + f"parameters = {{ fate = [0, {REFUSED}] }}\n")
    done = bench("sweep", "virtual.toml", "-o", "results")
    assert (done.exit_code, done.stdout) == (1, "results: 3 points measured, 3 failed\n")
    failure = "failed: alpha, nop, vcpu, cheap, fate=1, repeat 0: the guest went wrong\n"
    assert failure in done.stderr


@pytest.mark.usefixtures("folder")
def test_wall_points_run_one_by_one_unless_told_otherwise() -> None:
    done = bench("sweep", "wall.toml", "-o", "one")
    assert (done.exit_code, "Warning" in done.stderr) == (0, False)
    done = bench("sweep", "wall.toml", "-o", "two", "--jobs", "2")
    assert done.exit_code == 0
    assert "Warning: 2 points at a time in wall time disturb one another" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sweep"], "Missing argument 'FILE'"),
        (["sweep", "virtual.toml"], "Missing option '-o'"),
        (["sweep", "none.toml", "-o", "new"], "cannot read the sweep none.toml: No such file"),
        (["sweep", ".", "-o", "new"], "cannot read the sweep .: Is a directory"),
        (["sweep", "bad.toml", "-o", "new"], "bad.toml: unknown scenario 'omega' (known: alpha"),
        (["sweep", "virtual.toml", "-o", "notes"], "notes does not hold results of the laboratory"),
        (["sweep", "virtual.toml", "-o", "no/new"], "cannot write no/new: No such file or dir"),
        (["sweep", "virtual.toml", "-o", "."], "cannot write .: Is a directory"),
        (["sweep", "virtual.toml", "-o", "new", "--jobs", "0"], "0 is not in the range"),
        (["sweep", "virtual.toml", "-o", "new", "--jobs", "many"], "'many' is not a valid integer"),
        (["sweep", "virtual.toml", "-o", "new", "--dask", "here"], "'here' is no address"),
        (
            ["sweep", "virtual.toml", "-o", "new", "--dask", "tcp://127.0.0.1:1"],
            "no Dask scheduler answers at tcp://127.0.0.1:1",
        ),
        (
            ["sweep", "wall.toml", "-o", "new", "--dask", "tcp://127.0.0.1:1"],
            "wall.toml has points in wall time",
        ),
        (
            ["sweep", "virtual.toml", "-o", "new", "--dask", "tcp://h:1", "--jobs", "1"],
            "--jobs is for processes of this host",
        ),
        (["scenarios", "omega"], "unknown scenario 'omega' (known: pingpong, "),
        (["quick", "-o", "notes"], "Directory 'notes' is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], complaint: str
) -> None:
    monkeypatch.setattr("bench.laboratory.sweep.cluster.PATIENCE_SECONDS", 1)
    Path("bad.toml").write_text('scenarios = "omega"')
    Path("notes").write_text("to keep")
    done = bench(*arguments)
    assert isinstance(done.exception, SystemExit)  # no exception of another kind has got out
    assert (done.exit_code, done.stdout) == (2, "")
    assert complaint in words(done.stderr)
    assert Path("notes").read_text() == "to keep"
    assert sorted(path.name for path in folder.iterdir()) == [
        "bad.toml",
        "notes",
        "virtual.toml",
        "wall.toml",
    ]


def test_scenarios_are_listed() -> None:
    listed = bench("scenarios").stdout
    shown = json.loads(bench("scenarios", "--json").stdout)
    assert [scenario["name"] for scenario in shown] == list(SCENARIOS)
    for name, scenario in SCENARIOS.items():
        assert name in listed
        assert words(scenario.summary)[:20] in words(listed)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_shown_with_its_parameters(name: str) -> None:
    text = bench("scenarios", name).stdout
    shown = json.loads(bench("scenarios", name, "--json").stdout)
    assert shown["question"] in words(text)
    assert [parameter["name"] for parameter in shown["parameters"]] == [
        parameter.name for parameter in SCENARIOS[name].parameters
    ]
    for parameter in shown["parameters"]:
        assert parameter["name"] in text


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    text = VIRTUAL + 'policies = "nop"\nparameters = { pause_ms = [0, 10_000] }\n'
    (tmp_path / "slow.toml").write_text(text)
    results = tmp_path / "results"
    program = (
        "import sys, bench.sweep_cli, tests.laboratory.fake as fake\n"
        "bench.sweep_cli.everything = lambda: fake.CATALOGUE\n"
        "bench.sweep_cli.sweep_command()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "slow.toml"), "-o", str(results)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        wait_until(lambda: results.exists() and results.read_bytes().count(b"\n") == 2, "a result")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
        stdout, stderr = process.communicate(timeout=10)
    assert (process.returncode, stdout) == (130, "")
    assert f"Stopped. {results} keeps what is finished" in stderr
    assert "Traceback" not in stderr
    assert len(read_results(results)[1]) == 1
