"""A counterexample to read: who did what, and which shared word it changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from tests.model.scenarios import Check
from tests.model.spin import MODEL, Line, call, whole_model

_STARTING = re.compile(r"Starting (\w+) with pid (\d+)")
_STEP = re.compile(rf"\s*(\d+):\s+proc\s+(\d+) \(\S+\) {re.escape(MODEL)}:(\d+) .*?\[(.*)\]")
_SHARED = re.compile(r"(?:bit|byte|StoreBuffer) (\w+)")
_VALUE = re.compile(r"\s+([\w.\[\]]+) = (-?\d+)")


@dataclass
class Step:
    """What one thread did in one step."""

    number: int
    thread: str
    line: Line
    #: The statement as SPIN prints it, and the shared words that it changed.
    statement: str
    changes: dict[str, int]


def _bits(*names: str) -> Callable[[int], str]:
    return lambda value: (
        " ".join(name for bit, name in enumerate(names) if value >> bit & 1) or "none"
    )


def _one_of(*names: str) -> Callable[[int], str]:
    return lambda value: names[value]


def _monitor(word: int) -> str:
    state = ("IDLE", "ARMED", "WAITING", "TRIGGERED")[word & 3]
    return f"{state}, line {word >> 2}" if word else state


#: What functions do that change nothing for others, or whose steps do not tell.
_DEEDS = {"store": "puts a store into its buffer", "load": "looks at its flag"}

#: How the words with names for their values are shown.
_SHOWN: dict[str, Callable[[int], str]] = {
    "attention": _bits("KICK", "RUN", "INTERRUPT", "SIPI", "SHOOTDOWN"),
    "attributes": _bits("PROTECTED", "ACKNOWLEDGED"),
    "doing": _one_of("RUNNABLE", "HALTED", "IN_MWAIT", "SPINNING", "STOPPED"),
    "location": _one_of("OUTSIDE_GUEST", "IN_GUEST"),
    "monitors": _monitor,
    "stop_at": _one_of("0", "LIMIT"),
}


def counterexample(check: Check, folder: Path) -> list[Step]:
    """The steps with shared words that led to the error which explore() found in this folder."""
    lines = whole_model(check)
    threads: dict[int, str] = {}
    values: dict[str, int] = {}
    steps: list[Step] = []
    for row in call(folder, "spin", "-t", "-p", "-g", MODEL).splitlines():
        if started := _STARTING.match(row):
            threads[int(started[2])] = _thread(started[1], list(threads.values()), check)
        elif row.startswith("spin: trail ends"):
            break
        elif step := _STEP.match(row):
            number, thread = int(step[1]), threads.get(int(step[2]), "")
            if not steps or steps[-1].number != number:
                steps.append(Step(number, thread, lines[int(step[3]) - 1], step[4], {}))
        elif (value := _VALUE.match(row)) and values.get(value[1], 0) != int(value[2]):
            values[value[1]] = int(value[2])
            steps[-1].changes[value[1]] = int(value[2])
    declared = (_SHARED.match(line.text) for line in lines)
    shared = re.compile(rf"\b(?:{'|'.join(found[1] for found in declared if found)})\b")
    return [step for step in steps if step.changes or shared.search(step.statement)]


def _thread(process: str, before: list[str], check: Check) -> str:
    """The name of a process; those of a kind start in the order of their threads."""
    if process == "vcpu":
        return f"vCPU {sum(name.startswith('vCPU') for name in before)}"
    if process != "store_buffer":
        return process
    number = sum(name.startswith("buffer") for name in before)
    return f"buffer of vCPU {number}" if number < check.budget.vcpus else "buffer of host"


def print_trail(steps: list[Step]) -> None:
    """A line for each step: the thread, the function of the model, what it changed or looked at."""
    for step in steps:
        click.echo(f"{step.number:>5}  {step.thread:<16}  {step.line.function:<19} {_told(step)}")


def _told(step: Step) -> str:
    if step.line.function in _DEEDS:
        return _DEEDS[step.line.function]
    if step.changes:
        return ", ".join(f"{name} = {_value(name, value)}" for name, value in step.changes.items())
    # The guard is what was looked at; what follows it are the steps to come.
    text = re.sub(r"^::|/\*.*|->.*|}", "", step.line.text.strip()).removeprefix(" ")
    text, locked = re.subn(r"^atomic {(?: drained\(\w+\);)?", "", text)
    return f"{'does' if locked and ' = ' in text else 'looks'}: {text.strip(' ;')}"


def _value(name: str, value: int) -> str:
    shown = _SHOWN.get(name.split("[")[0])
    return shown(value) if shown else str(value)
