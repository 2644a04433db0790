"""Every code block of the documentation does what the page says.

Languages decide what is done: commands are run and their output compared, Python is executed,
assembly assembled, and `text` is left alone. Blocks of a page are taken in order, in one folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, inline_commands, pages
from tests.docs.commands import ROOT, check_options
from tests.docs.reader import LANGUAGES, Reader

PAGES = pages(ROOT)

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


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
