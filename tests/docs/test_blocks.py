"""Every code block of the documentation does what the page says.

Languages decide what is done: commands are run and their output compared, Python is executed,
assembly assembled, and `text` is left alone. Blocks of a page are taken in order, in one folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, blocks, inline_commands, pages
from tests.docs.commands import ROOT, Command, check_options, commands, prepare, run
from vmm import AssemblyError, assemble

PAGES = pages(ROOT)
LANGUAGES = {"asm", "c", "console", "cython", "python", "sh", "text"}

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place to work in, as in the project's own folder."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@needs_gcc
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(folder, lambda: capsys.readouterr().out)
    for block in blocks(page.read_text()):
        try:
            reader.follow(block)
        except Exception as error:
            pytest.fail(f"{name_of(page)}:{block.line}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_running_text(page: Path) -> None:
    for command in inline_commands(page.read_text()):
        check_options(command)


def test_there_are_pages_with_blocks_of_every_language() -> None:
    found = {block.language for page in PAGES for block in blocks(page.read_text())}
    assert found == LANGUAGES
    assert {"README.md", "docs/index.md", "examples/README.md"} <= set(map(name_of, PAGES))


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
