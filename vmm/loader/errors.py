"""The error of this package."""

from __future__ import annotations


class LoadError(ValueError):
    """The guest or its memory cannot be had; the text says why and what to do."""
