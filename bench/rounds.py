"""Rounds of turns that alternate, so that all who are measured meet the same host."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def alternate(contestants: Sequence[Callable[[], float]], repeats: int) -> list[tuple[float, ...]]:
    """What each contestant gave in its turns, taken one after the other, round by round."""
    rounds = [[contestant() for contestant in contestants] for _ in range(repeats)]
    return list(zip(*rounds, strict=True))
