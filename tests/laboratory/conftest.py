"""A report of made-up results, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.laboratory.report import write_report
from tests.laboratory.plausible import HEADER, results


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report that has every kind of plot."""
    folder = tmp_path_factory.mktemp("report") / "all"
    write_report(folder, HEADER, results(repeats=2))
    return folder
