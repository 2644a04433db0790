"""A guest that loses wakes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def losing_pair(tmp_path: Path) -> Path:
    """The pair with the mistake that its head describes: it looks at its flag before MONITOR."""
    path = tmp_path / "losing_pair.S"
    path.write_text('#define LOOK_BEFORE_MONITOR\n#include "pair.S"\n')
    return path
