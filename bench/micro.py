"""The micro-benchmarks of bench/test_*.py, run, stored, and held against an accepted run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.environment import Environment
from bench.output import SCHEMA_VERSION, document, write_whole

_FOLDER: Final = Path(__file__).resolve().parent

#: How much longer the least time may be than that of the accepted run. What a thread does by itself
#: repeats within a few percent on a quiet host, and within 15 % nearly always; where the host's
#: scheduler has a part, only a change of half as much again says anything.
BOUND: Final = 0.15
SCHEDULED_BOUND: Final = 0.5

#: Benchmarks beyond their bound are run again so often, and the least time of all counts: noise
#: only adds.
AGAIN: Final = 2


class MicroError(RuntimeError):
    """The benchmarks cannot be run, or what is stored cannot be used."""


@dataclass(frozen=True, slots=True)
class Case:
    """The least time of a benchmark in seconds; `peer`: of something that is not ours to keep."""

    seconds: float
    scheduled: bool = False
    peer: bool = False

    @property
    def bound(self) -> float:
        """The share by which it may be slower."""
        return SCHEDULED_BOUND if self.scheduled else BOUND


Cases = Mapping[str, Case]


@dataclass(frozen=True, slots=True)
class Change:
    """A benchmark of a run beside the accepted one's."""

    name: str
    reference: float
    case: Case

    @property
    def share(self) -> float:
        """By how much it takes longer now; below 0 when it is quicker."""
        return self.case.seconds / self.reference - 1

    @property
    def regression(self) -> bool:
        """It is slower by more than its bound, and ours."""
        return not self.case.peer and self.share > self.case.bound


@dataclass(frozen=True, slots=True)
class Run:
    """What was stored. `accepted`: it is what later runs are held against."""

    path: Path
    host: str
    cases: Cases
    accepted: bool

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises MicroError for a file that holds no run."""
        try:
            contents = json.loads(path.read_text())
            if contents["schema"] != SCHEMA_VERSION or contents["benchmark"] != "micro":
                raise MicroError(f"{path} holds no run of this version: delete it")
            cases = {name: Case(**fields) for name, fields in contents["cases"].items()}
            return cls(path, host_of(contents["environment"]), cases, contents["accepted"])
        except (OSError, ValueError, KeyError, TypeError):
            raise MicroError(f"{path} is damaged: delete it") from None


def host_of(where: Mapping[str, Any]) -> str:
    """What two runs must have in common to be compared, of the fields of an `Environment`."""
    return f"{where['cpu']}, {where['cores']} cores, Python {where['python']}"


class Store:
    """Runs in a folder, numbered from 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> list[Run]:
        """All of them, oldest first. Raises MicroError for a file that holds none."""
        return [Run.read(path) for path in sorted(self.folder.glob("[0-9]*.json"))]

    def reference(self, host: str) -> Run | None:
        """The accepted run of such a host that was stored last; None without one."""
        accepted = [run for run in self.runs() if run.accepted and run.host == host]
        return accepted[-1] if accepted else None

    def add(self, cases: Cases, where: Environment, accepted: bool) -> Path:
        """Store a run; where. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        runs = self.runs()
        number = int(runs[-1].path.stem) + 1 if runs else 1
        path = self.folder / f"{number:04}.json"
        fields = {name: _fields(case) for name, case in cases.items()}
        write_whole(path, document("micro", where, accepted=accepted, cases=fields))
        return path

    def accept(self) -> Run:
        """Have the last run be the reference. Raises MicroError without one, and OSError."""
        runs = self.runs()
        if not runs:
            raise MicroError(f"{self.folder} holds no run to accept: run `python -m bench micro`")
        contents = json.loads(runs[-1].path.read_text())
        write_whole(runs[-1].path, contents | {"accepted": True})
        return runs[-1]


def _fields(case: Case) -> dict[str, Any]:
    return {"seconds": case.seconds, "scheduled": case.scheduled, "peer": case.peer}


def measure(names: Iterable[str] = ()) -> dict[str, Case]:
    """Run those benchmarks, all without names, by pytest, which prints its own table.

    Raises MicroError when one of them fails or pytest is not there, KeyboardInterrupt.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "benchmarks.json")
        targets = [f"{_FOLDER.parent / name}" for name in names] or [str(_FOLDER)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["--benchmark-only", f"--benchmark-json={path}", *targets]
        status = subprocess.run(command, cwd=_FOLDER.parent, check=False).returncode
        if status == 2:  # pytest's own for Ctrl-C
            raise KeyboardInterrupt
        if status:
            raise MicroError(
                "the benchmarks did not run; they need pytest and pytest-benchmark:"
                " `pip install .[bench]`"
            )
        return cases_of(json.loads(path.read_text()))


def cases_of(contents: Mapping[str, Any]) -> dict[str, Case]:
    """What pytest-benchmark wrote, by the benchmarks' full names."""
    return {
        each["fullname"]: Case(
            seconds=each["stats"]["min"],
            scheduled=bool(each["extra_info"].get("scheduled")),
            peer=bool(each["extra_info"].get("peer")),
        )
        for each in contents["benchmarks"]
    }


def compare(cases: Cases, reference: Cases) -> list[Change]:
    """Those benchmarks that both have."""
    return [
        Change(name, reference[name].seconds, case)
        for name, case in cases.items()
        if name in reference and reference[name].seconds > 0
    ]


def regressions(changes: Sequence[Change]) -> list[Change]:
    """Those beyond their bounds."""
    return [change for change in changes if change.regression]


def quicker(cases: Cases, others: Cases) -> dict[str, Case]:
    """The lesser time of each benchmark."""
    return {
        name: min(case, others.get(name, case), key=lambda each: each.seconds)
        for name, case in cases.items()
    }
