"""Keeping a measurement on one CPU."""

from __future__ import annotations

import os

import pytest

from bench.affinity import pinned


def test_pins_to_the_last_cpu_and_gives_the_rest_back() -> None:
    before = os.sched_getaffinity(0)
    with pinned() as cpu:
        assert os.sched_getaffinity(0) == {cpu} == {max(before)}
    assert os.sched_getaffinity(0) == before


def test_says_when_the_host_does_not_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, cpus: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with pinned() as cpu:
        assert cpu is None
