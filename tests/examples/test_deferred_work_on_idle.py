"""The example of deferred work runs, and does what it says."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vmm import Outcome

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "deferred_work_on_idle.py"
LINE = re.compile(r" *(?P<ms>\d+\.\d{3}) ms  (?P<step>\d\)|  )  (?P<what>.+)")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def printed() -> list[list[re.Match[str]]]:
    """The lines of each part of the output, below its title."""
    done = subprocess.run(
        [sys.executable, EXAMPLE],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    parts = [part.splitlines()[1:] for part in done.stdout.strip().split("\n\n")]
    matches = [[LINE.fullmatch(line) for line in part] for part in parts]
    return [[match for match in part if match is not None] for part in matches]


def test_it_prints_each_step_with_its_time() -> None:
    parts = printed()
    steps = [[line["step"].strip() for line in part] for part in parts]
    assert steps == [
        ["0)", "1)", "2)", "3)", "", "4)", ""],
        ["0)", "1)", "2)", "3)", "", "4)", ""],
        ["0)", "1)", "3)", "", "4)", ""],
    ]
    for part in parts:
        times = [float(line["ms"]) for line in part]
        assert times == sorted(times)
    assert "EXIT_HLT" in parts[0][3]["what"]
    assert "EXIT_MWAIT" in parts[1][3]["what"]


@pytest.mark.parametrize(("instruction", "exits"), [("HLT", 0), ("MWAIT", 1)])
def test_only_one_idle_instruction_exits(
    example: dict[str, Any], instruction: str, exits: int
) -> None:
    """Two port writes, and between them the one exit for which the work waited."""
    vcpu = example["one_vcpu"](instruction)
    stats = vcpu.stats
    assert (stats["exits"], stats["io_exits"], stats["mwait_exits"]) == (3, 2, exits)
    assert stats["halt_exits" if instruction == "HLT" else "mwait_instructions"] == 6
    assert vcpu.disable_exits == 3


def test_sleeping_vcpus_do_the_work_and_their_guests_do_not_notice(
    example: dict[str, Any],
) -> None:
    result, retired = example["all_asleep"]()
    assert retired == [0, 0]
    assert result.outcome is Outcome.EXIT_PORT
    assert (result.work.done, result.work.failed) == (1, 0)
    assert result.vcpus[0].exits == {"EXIT_IO": 1, "EXIT_INTR": 1}
    assert "EXIT_MWAIT" not in result.vcpus[1].exits
