"""A sleeper and everything that may store beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import x86core as x86
from tests.support import Running, flat32, run, waiter

Sleep = Callable[..., Running]


@pytest.fixture
def sleep(memory: x86.Memory) -> Iterator[Sleep]:
    """`sleep(...)`, arguments as of `waiter`: a vCPU on a thread of its own, asleep in MWAIT."""
    with ExitStack() as stack:

        def start(between: str = "", **arguments: int) -> Running:
            running = stack.enter_context(Running(waiter(between, memory=memory, **arguments)))
            running.asleep("mwait")
            return running

        yield start


@pytest.fixture
def guest_stores(memory: x86.Memory) -> Callable[..., x86.VCPU]:
    """`guest_stores(source)`: another vCPU executes `source` to its end, on this thread."""

    def execute(source: str, index: int = 9, **registers: int) -> x86.VCPU:
        vcpu = flat32(f"{source}; hlt", memory=memory, index=index)
        vcpu.mwait_policy = x86.MWAIT_FAULT
        for name, value in registers.items():
            setattr(vcpu, name, value)
        assert run(vcpu) == "EXIT_HLT"
        return vcpu

    return execute


def still_asleep(running: Running) -> bool:
    """Whether the sleeper has not so much as been woken and gone back to sleep.

    A trigger takes effect in the store that causes it, so there is nothing to wait for.
    """
    vcpu = running.vcpu
    woken = [count for name, count in vcpu.stats.items() if name.startswith("wakes_")]
    return vcpu.monitor[0] == "waiting" and vcpu.waiting == "mwait" and not any(woken)
