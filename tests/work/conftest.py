"""Executors driven by hand, and servers that only take notes."""

from __future__ import annotations

import pytest

from vmm.work import VCPUExecutor


class HandClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class NotingServer:
    """A server that counts what is asked of it."""

    def __init__(self, asleep: bool = False) -> None:
        self.asleep = asleep
        self.woken = False
        self.attention = 0
        self.kicks = 0

    def request_attention(self) -> None:
        self.attention += 1

    def kick(self) -> None:
        self.kicks += 1


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def executor(clock: HandClock) -> VCPUExecutor:
    """No thread runs: it does what it is told to, in time that stands still."""
    return VCPUExecutor(bound_seconds=0.010, wake_bound_seconds=0.0001, clock=clock)
