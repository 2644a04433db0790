"""Fixtures for all tests."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import RAM


@pytest.fixture
def memory() -> x86.Memory:
    """A megabyte of zeroed guest RAM."""
    return x86.Memory(RAM)
