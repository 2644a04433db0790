"""Where the documentation is followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.commands import prepare


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place to work in, as in the project's own folder."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
