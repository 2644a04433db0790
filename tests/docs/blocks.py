"""The code blocks of a page of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r" *(`{3,}|~{3,})(.*)")
_NAMED = re.compile(r"Save (?:this|it) as `([\w.-]+)`:$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `line` is the number of its fence, `name` the file that a reader makes of it:
    what the text before it says by "Save this as `name`:", "" if nothing.
    """

    language: str
    text: str
    line: int
    name: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order. Raises ValueError for one that does not end."""
    fence, language, begin = "", "", 0
    inside: list[str] = []
    before = ""
    for number, line in enumerate(page.splitlines(), 1):
        match = _FENCE.fullmatch(line)
        if not fence:
            if match:
                fence, language, begin, inside = match[1], match[2].strip(), number, []
            elif line.strip():
                before = line
        elif match and match[1] == fence and not match[2]:
            named = _NAMED.search(before)
            yield Block(language, "\n".join(inside) + "\n", begin, named[1] if named else "")
            fence, before = "", ""
        else:
            inside.append(line)
    if fence:
        raise ValueError(f"the block of line {begin} does not end")


def inline_commands(page: str) -> list[str]:
    """Commands in running text: `make ...` and `python -m ...` between backticks."""
    outside = page
    for block in blocks(page):
        outside = outside.replace(block.text, "\n")
    spans = re.findall(r"`((?:make|(?:\.venv/bin/)?python -m) [^`]+)`", outside)
    return [" ".join(span.split()) for span in spans]


def pages(root: Path) -> list[Path]:
    """Every page that a person wrote."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("examples/*.md")])
