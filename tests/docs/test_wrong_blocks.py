"""What follows the documentation finds what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.laboratory.parameter import LaboratoryError
from tests.docs.blocks import Block, blocks, inline_commands
from tests.docs.commands import Command, run
from tests.docs.reader import Reader
from vmm import AssemblyError


@pytest.mark.parametrize(
    ("language", "text", "error", "says"),
    [
        ("", "x", ValueError, "no language"),
        ("rust", "x", ValueError, "'rust' is no language"),
        ("asm", "bogus eax", AssemblyError, "no such instruction"),
        ("c", "int f(void) { return x; }", AssertionError, "undeclared"),
        ("cython", "cdef int nowhere", AssertionError, "not in the sources"),
        ("python", "1 / 0", ZeroDivisionError, "division"),
        ("python", "print(1)  # 2", AssertionError, "'2' was not printed"),
        ("console", "true", ValueError, "begins with"),
        ("console", "$ echo one\ntwo", AssertionError, "no line 'two'"),
        ("console", "$ echo b; echo a\na\nb", AssertionError, "no line 'b'"),
        ("toml", "scenarios = 'x'", LaboratoryError, "unknown scenario 'x'"),
        ("sh", "exit 3", AssertionError, "status 3"),
        ("sh", "true  # status 1", AssertionError, "status 0"),
        ("sh", "make nothing", AssertionError, "no nothing"),
        ("sh", "make fuzz NUMBER=1", AssertionError, "no NUMBER"),
        ("sh", ".venv/bin/python -m bench lab --nothing", AssertionError, "no --nothing"),
        ("sh", ".venv/bin/python -m tests.stress --nothing", AssertionError, "no --nothing"),
    ],
)
def test_a_wrong_block_is_found(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    language: str,
    text: str,
    error: type[Exception],
    says: str,
) -> None:
    reader = Reader(folder, lambda: capsys.readouterr().out)
    with pytest.raises(error, match=says):
        reader.follow(Block(language, f"{text}\n", 1, ""))


def test_numbers_may_differ(folder: Path) -> None:
    run(Command("echo took 1,234.5 ms", ("took 7 ms",)), folder)


def test_a_page_is_taken_apart() -> None:
    page = "Save this as `a.S`:\n\n```asm\nnop\n```\ntext\n```\nx\n```\n"
    assert list(blocks(page)) == [Block("asm", "nop\n", 3, "a.S"), Block("", "x\n", 7, "")]
    with pytest.raises(ValueError, match="line 1 does not end"):
        list(blocks("```sh\ntrue\n"))


def test_commands_in_text_are_found() -> None:
    page = "see `make run`,\n`python -m vmm\nrun x`\n```sh\nmake test\n```\n"
    assert inline_commands(page) == ["make run", "python -m vmm run x"]
