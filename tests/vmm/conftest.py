"""Guests for the tests: source text in, a .S file out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

PRELUDE = ".intel_syntax noprefix\n.code16\n"

WriteGuest = Callable[[str], Path]


@pytest.fixture
def guest(tmp_path: Path) -> WriteGuest:
    """Writes 16-bit Intel-syntax code to a file that `Machine.load` takes."""

    def write(code: str) -> Path:
        path = tmp_path / "guest.S"
        path.write_text(PRELUDE + code)
        return path

    return write
