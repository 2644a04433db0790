"""`python -m bench`: bad input, JSON, Ctrl-C.

Misuse is tried in this process, which is quicker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cli
from tests.support import NO_OTHER_THREADS, has_threads, wait_until

BENCH = [sys.executable, "-m", "bench"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lab", "--policies", "nop,sleepy"], "unknown policy 'sleepy': choose from nop, yield"),
        (["lab", "--policies", ""], "unknown policy ''"),
        (["lab", "--seconds", "0"], "0.0 is not in the range x>0"),
        (["lab", "--seconds", "nan"], "nan is not a length of time"),
        (["lab", "--seconds", "inf"], "inf is not a length of time"),
        (["lab", "--quiet-seconds", "5"], "5.0 is not in the range 0<x<=4.0"),
        (["lab", "--handoffs", "-1"], "-1 is not in the range"),
        (["lab", "--false-stores", "-1"], "-1 is not in the range"),
        (["lab", "--tasks-per-second", "0"], "0.0 is not in the range"),
        (["lab", "--json", "."], "is a directory"),
        (["lab", "--json", "no/such/folder/rows.json"], "cannot write into the folder"),
        (["core", "--repeats", "0"], "0 is not in the range"),
        (["core", "--exits", "0"], "0 is not in the range"),
        (["core", "--seconds", "-1"], "-1.0 is not in the range"),
        (["nothing"], "No such command 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, SystemExit)  # no exception of another kind has got out
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize("command", [[], ["lab"], ["core"]], ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    text = CliRunner().invoke(cli, [*command, "--help"], prog_name="python -m bench").stdout
    assert f"python -m bench {' '.join(command)}".strip() in text.split("Example", 1)[1]


def test_lab_writes_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    options = ["--policies", "fault", "--seconds", "0.2", "--quiet-seconds", "0.2"]
    done = bench("lab", *options, "--handoffs", "100", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nfault ") == 3
    assert "[3/3] fault, nobody wakes" in done.stderr
    document = json.loads(path.read_text())
    assert (document["schema"], document["benchmark"]) == (1, "lab")
    phases = ["back to back", "1 ms apart", "nobody wakes"]
    assert [row["phase"] for row in document["rows"]] == phases
    assert document["rows"][0]["handoffs"] >= 100
    assert document["environment"]["cores"] >= 1
    command = document["environment"]["command"]
    assert command.startswith(f"python -m bench lab {' '.join(options)} --handoffs 100 ")
    assert str(tmp_path) not in path.read_text()


def interrupt(
    process: subprocess.Popen[str], measures: Callable[[], bool], after: float
) -> tuple[str, str]:
    """Ctrl-C so many seconds after the process has begun to measure; what it printed."""
    wait_until(measures, "it measures", patience=60)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - start < 5  # it has 50 s to go
    assert process.returncode == 130
    assert "Traceback" not in stderr
    return stdout, stderr


@pytest.mark.parametrize("policy", ["nop", "exit", "fault"])
def test_ctrl_c_in_the_lab(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    options = ["--policies", policy, "--seconds", "60", "--json", str(path)]
    with subprocess.Popen(
        [*BENCH, "lab", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=NO_OTHER_THREADS,
    ) as process:
        stdout, _ = interrupt(process, lambda: has_threads(process, 3), after=0.5)
    assert "* stopped by Ctrl-C" in stdout
    (row,) = json.loads(path.read_text())["rows"]
    assert not row["complete"]
    assert row["handoffs"] > 0
    assert row["lost_wakes"] == 0


@pytest.mark.parametrize("after", [0.2, 1.5])
def test_ctrl_c_in_core(after: float) -> None:
    pytest.importorskip("unicorn")
    with subprocess.Popen(
        [*BENCH, "core", "--json", "--repeats", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stdout, _ = interrupt(process, lambda: len(os.sched_getaffinity(process.pid)) == 1, after)
    assert json.loads(stdout)["exits"] == []


def test_core_refuses_the_comparison_without_unicorn(tmp_path: Path) -> None:
    (tmp_path / "unicorn.py").write_text("raise ImportError('not here')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from bench.cli import cli; cli()"
    done = subprocess.run(
        [sys.executable, "-c", code, "core"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install .[bench]" in " ".join(done.stderr.split())
    assert "--no-peer" in done.stderr
    assert "Traceback" not in done.stderr
