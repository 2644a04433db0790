"""The wall-clock engine: a point is run by real threads, and measured from outside."""

from __future__ import annotations

from bench.laboratory.wall.engine import measure, warm_up_seconds

__all__ = ["measure", "warm_up_seconds"]
