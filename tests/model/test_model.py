"""The quick run of the model, proof that the runner can fail, and the page beside the code."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.model import spin
from tests.model.__main__ import main
from tests.model.scenarios import BROKEN, CHECKS, DESIGN, Check

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "model.md").read_text()
_BY_NAME = {check.name: check for check in CHECKS}

with_spin = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")),
    reason="exploring the model takes SPIN and a C compiler (Debian: apt install spin gcc)",
)


def model(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@with_spin
@pytest.mark.timeout(900)
def test_quick_run() -> None:
    done = model("--quick", "--json")
    result = json.loads(done.stdout)
    assert {check["name"]: check["verdict"] for check in result["checks"]} == {
        check.name: "ok" for check in CHECKS if check.quick
    }
    assert result["never_executed"] == []
    assert done.exit_code == 0
    for check in result["checks"]:
        assert check["complete"] or check["rule"]
        assert check["transitions"] > check["states"] > 1000


def verdict(check: Check, folder: Path) -> str:
    return spin.explore(check, folder).verdict


@with_spin
def test_an_error_of_the_design_would_be_seen(tmp_path: Path) -> None:
    unaware = replace(_BY_NAME["NO_WRITER_FENCE"], loses="")
    assert verdict(unaware, tmp_path) == "found lost_store, expected nothing"


@with_spin
def test_a_variant_that_does_no_harm_would_be_seen(tmp_path: Path) -> None:
    harmless = replace(_BY_NAME["kicks"], loses="lost_kick")
    assert verdict(harmless, tmp_path) == "found nothing, expected lost_kick"


@with_spin
@pytest.mark.parametrize("limit", ["DEPTH", "MEGABYTES"])
def test_a_search_that_was_given_up_proves_nothing(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spin, limit, {"DEPTH": 100, "MEGABYTES": 190}[limit])
    assert verdict(_BY_NAME["handoff"], tmp_path) == "search not complete"


@with_spin
def test_statements_that_nothing_executes_are_told(tmp_path: Path) -> None:
    outcome = spin.explore(_BY_NAME["kicks"], tmp_path)
    left = {line.function for line in outcome.statements - outcome.executed}
    assert left >= {"trigger", "release", "finish_mwait"}
    executed = {line.function for line in outcome.executed}
    assert executed >= {"wait_for_interrupt", "attend", "park"}


@with_spin
def test_trail() -> None:
    done = model("--trail", "NO_WRITER_FENCE")
    assert done.exit_code == 0
    told = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert told[-1][0].startswith("lost_store: ")
    deeds = [tuple(row[1:]) for row in told[:-1]]
    put = deeds.index(("vCPU 1", "store", "puts a store into its buffer"))
    assert deeds.index(("buffer of vCPU 1", "store_buffer", "memory[0] = 1")) > put
    assert ("vCPU 0", "monitor_arm", "monitors[0] = ARMED, line 0") in deeds
    assert deeds[-1] == ("vCPU 0", "park", "asleep[0] = 1")


def test_without_spin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = model("--only", "handoff")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: spin is not installed")
    assert "apt install spin" in done.stderr


def test_bad_input() -> None:
    assert model("--only", "nothing").exit_code == 2
    assert model("--trail", "handoff").exit_code == 2


def test_every_variant_is_named_in_the_model() -> None:
    source = "".join(path.read_text() for path in spin.FOLDER.glob("*.pml"))
    switches = set(re.findall(r"#ifn?def (\w+)", source)) - {"WAKE_FD"}
    assert switches == {check.rule for check in BROKEN}
    assert {check.rule for check in DESIGN} == {""}


def test_the_page_ties_every_function_of_the_model_to_the_code() -> None:
    """Each inline and process stands in a row of the page, tied to what is in the core."""
    rows = re.findall(r"^\| `(\w+)\.pml` \| (.+?) \| (.+?) \|", _PAGE, re.M)
    assert rows
    tied = {f"{file}.{name}" for file, names, _ in rows for name in re.findall(r"`([\w]+)`", names)}
    there = {
        f"{path.stem}.{name}"
        for path in spin.FOLDER.glob("*.pml")
        for name in re.findall(r"^(?:inline|proctype) (\w+)", path.read_text(), re.M)
    }
    assert tied == there
    for _, _, code in rows:
        for module, function in re.findall(r"`(\w+(?:/\w+)?)\.(\w+)`", code):
            source = (_ROOT / "x86core" / f"{module}.pyx").read_text()
            assert re.search(rf"\b{function}\(", source), f"{module}.{function}"


def test_the_page_has_every_check() -> None:
    for check in CHECKS:
        assert f"| {check.name} |" in _PAGE or f"| `{check.name}` |" in _PAGE, check.name
