"""A reader who does what a page says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.laboratory.engines import catalogue
from bench.laboratory.sweep.definition import parse
from tests.docs.blocks import Block
from tests.docs.commands import ROOT, check_options, commands, run
from vmm import assemble

#: Those of blocks; of `text` nothing is checked.
LANGUAGES = {"asm", "c", "console", "cython", "python", "sh", "text", "toml"}


class Reader:
    """Does what a page says, block by block."""

    def __init__(self, folder: Path, printed: Callable[[], str]) -> None:
        self._folder = folder
        self._printed = printed
        self._names: dict[str, Any] = {"__name__": "__docs__"}

    def follow(self, block: Block) -> None:
        """Do what it says. Raises what is wrong with it."""
        if block.name:
            assert "\n" in block.text
            (self._folder / block.name).write_text(block.text)
        match block.language:
            case "asm":
                assemble(block.text)
            case "c":
                self._compile(block.text)
            case "cython":
                assert occurs(block.text), "it is not in the sources"
            case "python":
                self._execute(block.text)
            case "sh" | "console":
                for command in commands(block.language, block.text):
                    if command.not_run:
                        check_options(command.text)
                    else:
                        run(command, self._folder)
            case "text":
                pass
            case "toml":
                parse("the block", block.text, catalogue())  # a sweep
            case other:
                raise ValueError(f"{other!r} is no language that is checked: {sorted(LANGUAGES)}")

    def _compile(self, text: str) -> None:
        compiler = ["gcc", "-m32", "-ffreestanding", "-Wall", "-Werror", "-x", "c", "-c", "-"]
        done = subprocess.run(
            [*compiler, "-o", "/dev/null"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def _execute(self, text: str) -> None:
        """A comment behind print() is what it prints."""
        exec(compile(text, "<block>", "exec"), self._names)
        lines = iter(self._printed().splitlines())
        for wanted in re.findall(r"^print\(.*\) +# (.+)$", text, re.MULTILINE):
            assert wanted in lines, f"{wanted!r} was not printed"


def occurs(text: str) -> bool:
    """Whether this very text stands in a source of the core."""
    return any(text in source.read_text() for source in (ROOT / "x86core").rglob("*.p[yx][xd]"))
