"""Fixtures for all tests, and which of them may run side by side."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import pytest

import x86core as x86
from tests.support import RAM

#: Folders whose tests run guests on threads of the host and wait for them. Of these, one runs at a
#: time, beside one of the others: `make test` has two processes.
ONE_AT_A_TIME: Final = {
    "bench",
    "docs",
    "examples",
    "flood",
    "gdb",
    "idle",
    "monitor",
    "seeing",
    "stress",
    "vmm",
    "work",
}


def pytest_configure() -> None:
    """Who is started in the background of a script ignores Ctrl-C, and so would the commands whose
    end by Ctrl-C is tested.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what must not run side by side into one group of pytest-xdist's."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.parent
        if folder.parent == here and folder.name in ONE_AT_A_TIME:
            item.add_marker(pytest.mark.xdist_group("one at a time"))


@pytest.fixture
def memory() -> x86.Memory:
    """A megabyte of zeroed guest RAM."""
    return x86.Memory(RAM)
