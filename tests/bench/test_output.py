"""Results on disk: all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.output import write_whole


def test_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("old")
    write_whole(path, {"rows": [1, 2]})
    assert json.loads(path.read_text()) == {"rows": [1, 2]}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_whole(path, {"rows": object()})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
