"""Every example runs, says what it shows, and shows it."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: What it prints, in part.
PRINTS = {
    "asyncio_vmm": [r"mwait -> MWAIT  in \d+\.\d\d ms", r"\d+ idle exits"],
    "compare_two_policies": [r"yield +\d+ +\d+\.\d us", r"fault +\d+ +\d+\.\d us"],
    "deferred_work_on_idle": [r"4\)  both sleep directly"],
    "two_guests_one_thread": [r"^[aB]{40,}$", r"guest B: +[\d,]+ instructions in \d+ turns"],
    "vmm_in_30_lines": [r"^HELLO FROM A VMM IN 30 LINES$", r"59 exits"],
}


def load(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_prints_what_it_should(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for pattern in PRINTS[path.stem]:
        assert re.search(pattern, done.stdout, re.MULTILINE), pattern


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_its_head_says_what_it_shows_and_how_to_run_it(path: Path) -> None:
    head = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(head.split()) >= 40
    assert f"\n    python examples/{path.name}" in head


def test_the_list_of_examples_is_complete() -> None:
    listed = re.findall(r"^\| `(\w+)\.py` \|", (ROOT / "examples" / "README.md").read_text(), re.M)
    assert sorted(listed) == [path.stem for path in EXAMPLES]
    assert sorted(PRINTS) == sorted(listed)


def test_a_vmm_has_no_more_than_30_lines() -> None:
    """The function that is the VMM, without its docstring."""
    (path,) = (path for path in EXAMPLES if path.stem == "vmm_in_30_lines")
    (run,) = (
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    )
    assert run.end_lineno is not None
    assert run.end_lineno - run.body[1].lineno + 1 <= 30


def test_a_vmm_in_30_lines() -> None:
    """Two exits for a character, one for the 0 behind the last."""
    assert load("vmm_in_30_lines")["run"](b"aZ{") == (b"AZ[", 7)


def test_the_guest_behind_asyncio_is_idle_between_lines() -> None:
    replies, server = asyncio.run(load("asyncio_vmm")["serve"](["a", "bc"]))
    assert replies == ["A", "BC"]
    assert 2 <= server.idle_exits <= 6
    assert server.vcpu.stats["irq_injections"] == 5
    assert server.vcpu.mp_state == 3  # HALTED


def test_two_guests_take_turns_on_one_thread() -> None:
    example = load("two_guests_one_thread")
    short = example["Guest"]("a", burst=1_000, period=0.002)
    long = example["Guest"]("B", burst=20_000_000, period=0.002)
    printed = example["schedule"]([short, long], letters=2)
    assert printed.count("B") == long.letters >= 2
    assert printed.index("a") < printed.index("B")
    assert "a" in printed.split("B")[1]  # not shut out by a guest that does not yield
    assert long.slices_spent >= 2 * 20_000_000 * 2 // example["SLICE"]
    assert short.slices_spent == 0


def test_two_policies_differ_where_they_should() -> None:
    measure = load("compare_two_policies")["measure"]
    yielding, fault = measure("yield", 0.4), measure("fault", 0.4)
    assert yielding.wakes == 0  # nobody slept
    assert fault.wakes > 0  # how much CPU that saves depends on who else wants it
    assert min(yielding.handoffs, fault.handoffs) > 0
