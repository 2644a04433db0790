"""The shipped guests do what they are there to show."""

from __future__ import annotations

import pytest

from vmm import Machine, Outcome
from vmm.console import ScriptConsole
from vmm.loader import shipped_guests


def test_which_there_are() -> None:
    assert {"hello", "idle", "pair", "protected", "serial"} <= set(shipped_guests())


def test_hello() -> None:
    result = Machine.load("hello").run(timeout=5)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0)
    assert result.console == "Hello from real mode!\n"


def test_protected() -> None:
    machine = Machine.load("protected")
    result = machine.run(timeout=5)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0)
    assert result.console == "Hello from protected mode, out of the second MiB!\n"
    assert machine.vcpus[0].cr0 & 1
    assert result.vcpus[0].location.startswith("0008:0000")


@pytest.mark.parametrize("hlt", ["block", "exit"])
def test_idle(hlt: str) -> None:
    result = Machine.load("idle", hlt=hlt, tick=100).run(timeout=10)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0)
    assert result.console == "".join(f"tick {n}\n" for n in range(1, 6))
    assert result.wall_seconds >= 0.04
    assert result.vcpus[0].cpu_seconds < result.wall_seconds / 2


def test_idle_sleeps_until_it_is_interrupted() -> None:
    result = Machine.load("idle").run(timeout=0.2)
    assert result.outcome is Outcome.TIMEOUT
    assert result.vcpus[0].waiting == "hlt"
    assert result.console == ""


def test_serial() -> None:
    lines = b"".join(b"line %d\r" % number for number in range(200))
    console = ScriptConsole([(b"ends.\n", b"Hello, World\r"), (b"WORLD\n", lines + b"\4")])
    result = Machine.load("serial", devices="pc", serial=console).run(timeout=10)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0)
    said, echoed, *more, farewell = result.console.splitlines()
    assert (said, echoed) == ("Say something; Ctrl-D ends.", "HELLO, WORLD")
    assert more == [*(f"LINE {number}" for number in range(200)), ""]
    assert farewell.startswith("Good-bye after ")
