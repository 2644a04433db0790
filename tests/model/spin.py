"""SPIN at work: the model in one file, its verifier compiled and run, and what that has to say."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.model.scenarios import ENDLESS, Check

FOLDER = Path(__file__).parent
#: The one file that SPIN reads.
MODEL = "model.pml"

#: Megabytes and steps at which a search is given up, which counts as a failure.
MEGABYTES = 4000
DEPTH = 1_000_000

_INCLUDE = re.compile(r'#include "(\S+)"')
_FUNCTION = re.compile(r"(?:inline|proctype) (\w+)|(init)$")
_VIOLATION = re.compile(r"pan:\d+: (?:assertion violated\s+!\((\w+)\)|(.+?)) \(at depth")
_INCOMPLETE = re.compile(r"Search not completed|max search depth too small|out of memory")


class ModelError(Exception):
    """SPIN or the compiler is missing, or does not take the model; the message says what to do."""


@dataclass(frozen=True)
class Line:
    """A line of the one file, and where it comes from."""

    file: str
    number: int
    function: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What the verifier says about a check."""

    check: Check
    states: int
    transitions: int
    depth: int
    megabytes: float
    seconds: float
    #: The assertion that failed, ENDLESS, or the verifier's own words; "" when nothing did.
    violated: str
    complete: bool
    #: The lines of the model that have statements, and those of them that were executed.
    statements: frozenset[Line]
    executed: frozenset[Line]

    @property
    def verdict(self) -> str:
        """'ok', or what is wrong."""
        if self.violated != self.check.loses:
            found = self.violated or "nothing"
            return f"found {found}, expected {self.check.loses or 'nothing'}"
        return "ok" if self.complete or self.violated else "search not complete"


def whole_model(check: Check) -> list[Line]:
    """The macros of a check, then wake.pml with the files that it includes."""
    macros = check.budget.macros() | ({check.rule: ""} if check.rule else {})
    lines = [Line("", 0, "", f"#define {name} {value}".rstrip()) for name, value in macros.items()]
    return lines + _lines_of(FOLDER / "wake.pml")


def _lines_of(path: Path) -> list[Line]:
    lines: list[Line] = []
    function = ""
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if included := _INCLUDE.fullmatch(text):
            lines += _lines_of(FOLDER / included[1])
            continue
        if found := _FUNCTION.match(text):
            function = found[1] or found[2]
        lines.append(Line(path.name, number, function, text))
        if text == "}":
            function = ""
    return lines


def call(folder: Path, *command: str) -> str:
    """What a program prints. Raises ModelError when it is not there or fails."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise ModelError(
            f"{command[0]} is not installed; exploring the model takes SPIN and a C compiler "
            "(Debian: apt install spin gcc)"
        ) from None
    if done.returncode:
        raise ModelError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def explore(check: Check, folder: Path) -> Outcome:
    """Search all states of a check, in an empty folder. Raises ModelError."""
    lines = whole_model(check)
    (folder / MODEL).write_text("\n".join(line.text for line in lines) + "\n")
    call(folder, "spin", "-a", MODEL)
    flags = ["-DCOLLAPSE", f"-DMEMLIM={MEGABYTES}"]
    flags += ["-DNP", "-DNFAIR=3"] if check.endless else ["-DSAFETY"]
    if check.rule and not check.endless:
        flags.append("-DBFS")  # the shortest counterexample
    # Optimizing takes longer than a small search.
    effort = "-O0" if check.rule else "-Og" if check.quick else "-O2"
    call(folder, "gcc", "-w", effort, *flags, "-o", "pan", "pan.c")
    started = time.monotonic()
    # -E: whether a thread may stand where it stands in the end is what quiescence() asserts.
    search = ["./pan", "-E", f"-m{DEPTH}", *(["-l", "-f"] if check.endless else [])]
    said = call(folder, *search)
    seconds = time.monotonic() - started
    violation = _VIOLATION.search(said)
    violated = (violation[1] or violation[2]) if violation else ""
    statements, unreached = _states(call(folder, "./pan", "-d"), lines), _unreached(said)
    return Outcome(
        check,
        states=int(_number(r"([\d.e+]+) states, stored", said)),
        transitions=int(_number(r"([\d.e+]+) transitions", said)),
        depth=int(_number(r"depth reached (\d+)", said)),
        megabytes=_number(r"([\d.]+)\s+total actual memory usage", said),
        seconds=seconds,
        violated=ENDLESS if violated == "non-progress cycle" else violated,
        complete=not _INCOMPLETE.search(said),
        statements=frozenset(statements.values()),
        executed=frozenset(line for state, line in statements.items() if state not in unreached),
    )


def _number(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if not found:
        raise ModelError(f"SPIN's verifier gave no result:\n{said}")
    return float(found[1])


def _states(table: str, lines: list[Line]) -> dict[tuple[str, int], Line]:
    """The statements of each process, by their numbers, from `pan -d`."""
    found: dict[tuple[str, int], Line] = {}
    process = ""
    for row in table.splitlines():
        if heading := re.fullmatch(r"proctype (\w+)|(init)", row):
            process = heading[1] or heading[2]
        elif state := re.match(rf"\s+state\s+(\d+) -.* {MODEL}:(\d+) =>", row):
            found[process, int(state[1])] = lines[int(state[2]) - 1]
    return found


def _unreached(said: str) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    process = ""
    for row in said.splitlines():
        if heading := re.fullmatch(r"unreached in (?:proctype )?(\w+)", row):
            process = heading[1]
        elif state := re.match(rf"\s+{MODEL}:\d+, state (\d+),", row):
            found.add((process, int(state[1])))
    return found
