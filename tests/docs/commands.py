"""Commands in the documentation: typed into a shell, or, where that takes too long, only parsed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from click.testing import CliRunner

import bench.cli
import vmm.cli

ROOT = Path(__file__).resolve().parents[2]

#: How commands begin that are not run here, and why. Their options and targets are looked up.
NOT_RUN = {
    "make": "builds, or takes minutes",
    "python -m bench": "takes minutes",
    "python -m tests.": "takes minutes; the tests of that folder run a short one",
}

#: Modules whose help can be had without a new process.
_CLICK = {"vmm": vmm.cli.cli, "bench": bench.cli.cli}

#: No command of the documentation takes longer.
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Command:
    """A line of a shell; `output` are the lines that the page shows below it."""

    text: str
    output: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status that its comment promises, else 0."""
        match = re.search(r"#.*\bstatus (\d+)", self.text)
        return int(match[1]) if match else 0

    @property
    def not_run(self) -> bool:
        """It is only parsed."""
        text = self.text.removeprefix(".venv/bin/")
        return any(text == begin or re.match(rf"{re.escape(begin)}\b", text) for begin in NOT_RUN)


def commands(language: str, text: str) -> Iterator[Command]:
    """Of a block of `sh` every line; of `console` those behind "$ ", with the output below.

    Raises ValueError for a block of `console` that does not begin with a command.
    """
    if language == "sh":
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                yield Command(line.strip())
        return
    begin, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if begin or not parts:
        raise ValueError("a block of console begins with '$ ' and a command")
    for part in parts:
        first, *output = part.rstrip("\n").split("\n")
        yield Command(first, tuple(output))


def prepare(folder: Path) -> None:
    """Make a folder look like the project after its build; what is written there stays there."""
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".venv", "build"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)


def run(command: Command, folder: Path) -> None:
    """Type it into a shell there. Raises AssertionError when status or output are others."""
    path = f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    said = f"$ {command.text}\n{done.stdout}{done.stderr}"
    assert done.returncode == command.status, f"{said}\nstatus {done.returncode}"
    lines = iter([*done.stdout.splitlines(), *done.stderr.splitlines()])
    for expected in command.output:
        wanted = _shape(expected)
        assert any(_shape(line) == wanted for line in lines), f"no line {expected!r} in\n{said}"


def _shape(line: str) -> str:
    """A line without its numbers, which are others in every run."""
    return re.sub(r"\d[\d,.]*", "#", line).rstrip()


def check_options(text: str) -> None:
    """Look up the command's options, or the target and variables of make, without running it.

    Raises AssertionError when there is no such one.
    """
    words = shlex.split(text, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    if words[0] == "make":
        _check_make(words[1:])
        return
    assert words[:2] == ["python", "-m"] or words[0].endswith("/python"), text
    module = words[2]
    # What stands before the first option or place holder are commands in commands, or a guest.
    inner = [word for word in words[3:] if re.fullmatch(r"[a-z]+", word)]
    text = _help(module, *_subcommands(module, inner))
    for word in words[3:]:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", text), f"{module}: no {option}"


def _subcommands(module: str, words: list[str]) -> list[str]:
    """Those of the words that are commands of the module, one inside the other."""
    found: list[str] = []
    for word in words:
        listed = _help(module, *found).partition("\nCommands:\n")[2]
        if not re.search(rf"^  {word}\b", listed, re.MULTILINE):
            break
        found.append(word)
    return found


@cache
def _help(module: str, *commands: str) -> str:
    if module in _CLICK:
        result = CliRunner().invoke(_CLICK[module], [*commands, "--help"])
        assert result.exit_code == 0, f"{module} {' '.join(commands)} --help: {result.stderr}"
        return result.stdout
    done = subprocess.run(
        [sys.executable, "-m", module, *commands, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{module} {' '.join(commands)} --help: {done.stderr}"
    return done.stdout


def _check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, assigned, _ = word.partition("=")
        pattern = rf"^{name} :?\??= " if assigned else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {name}"
