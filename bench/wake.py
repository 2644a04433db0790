"""What a wake costs, and what monitored pages cost the others: side by side with the bare host.

The store wakes are those of the guest `pair`; the bare ones are two host threads on a word of
memory, one asleep in a futex or spinning. Both rest as long between two wakes, on the same CPUs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np

import x86core
from bench.bare import Mailbox
from bench.engines import EngineError
from bench.pair import MEMORY_SIZE, Pair
from bench.turns import ns_per_turn, vcpu_on
from vmm import Machine, Outcome

#: Nanoseconds between two wakes: far more than a futex takes, and far less than a polling window.
ASLEEP_INTERVAL, POLLING_INTERVAL = 200_000, 5_000

#: The page that is monitored here, and the line beside the monitored one.
LINE = 0x200000
BESIDE = LINE + 64

_PAGE = 4096
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured: repeats of which the best counts, wakes and turns in each, waiters."""

    repeats: int = 5
    wakes: int = 2_000
    turns: int = 2_000_000
    waiters: int = 256


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, what it is held against, and the most (or least) that their quotient may be."""

    name: str
    value: float
    unit: str
    against: str
    reference: float
    bound: float
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """Of the figure to what it is held against."""
        return self.value / self.reference

    @property
    def within(self) -> bool:
        """Whether the promise is kept."""
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


def run(settings: Settings) -> Iterator[Row]:
    """Every figure, as soon as it is measured. Raises EngineError when a guest goes wrong."""
    yield _latency_row("fault", True, ASLEEP_INTERVAL, 1.3, settings)
    yield _latency_row("adaptive", False, POLLING_INTERVAL, 4.0, settings)
    rearm = min(rearm_ns(settings.turns) for _ in range(settings.repeats))
    yield Row("MONITOR on a protected page", rearm, "ns", "promise", 50.0, 1.0)
    beside = min(store_beside_ns(settings.turns) for _ in range(settings.repeats))
    yield Row("store beside a monitored line", beside, "ns", "promise", 40.0, 1.0)
    yield _store_rate_row(settings)


def _latency_row(
    policy: str, by_futex: bool, interval: int, bound: float, settings: Settings
) -> Row:
    """Medians of the best of several turns, taken in turn: guest, host, guest, host ..."""
    pairs = [
        (
            guest_wake_ns(policy, settings.wakes, interval),
            bare_wake_ns(by_futex, settings.wakes, interval),
        )
        for _ in range(settings.repeats)
    ]
    mine, bare = (min(values) for values in zip(*pairs, strict=True))
    name = "asleep in MWAIT" if by_futex else "MWAIT polls inside its window"
    against = "futex" if by_futex else "spinning flag"
    return Row(f"store to resume, {name}", mine, "ns", against, bare, bound)


def guest_wake_ns(policy: str, wakes: int, interval: int) -> float:
    """Median time from a guest's store until the other vCPU has seen it."""
    machine = Machine.load("pair", memory=MEMORY_SIZE, vcpus=2, idle=policy)
    pair = Pair(machine.memory)
    pair.configure(interval, wanted=wakes)
    result = machine.run(timeout=_WAIT_SECONDS)
    if result.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    if result.outcome is not Outcome.EXIT_PORT:
        raise EngineError(f"policy {policy}: {result.explanation}")
    # The first ones find the page unprotected and the window closed.
    return float(np.median(pair.latencies_ns()[wakes // 4 :]))


def bare_wake_ns(by_futex: bool, wakes: int, interval: int) -> float:
    """Median time from one host thread's store until another one has seen it."""
    mailbox = Mailbox(wakes)
    sleeper = threading.Thread(target=mailbox.sleep_through, args=(by_futex,))
    waker = threading.Thread(target=mailbox.wake_through, args=(by_futex, interval))
    for thread in (sleeper, waker):
        thread.start()
    for thread in (sleeper, waker):
        thread.join()
    return float(np.median(mailbox.latencies[wakes // 4 :]))


def rearm_ns(turns: int) -> float:
    """MONITOR on a page that is protected already; the loop around it is taken off."""
    vcpu = vcpu_on(x86core.Memory(MEMORY_SIZE + (1 << 20)), "rearm")
    ns_per_turn(vcpu, 10, ebx=1)
    armed = ns_per_turn(vcpu, turns, ebx=1)
    if vcpu.monitor != ("armed", LINE):
        raise EngineError(f"the monitor is {vcpu.monitor} and not armed")
    return armed - ns_per_turn(vcpu, turns, ebx=0)


def store_beside_ns(turns: int) -> float:
    """A store to the page of a monitored line, not to the line; the loop around it is taken off."""
    memory = x86core.Memory(MEMORY_SIZE + (1 << 20))
    waiter = vcpu_on(memory, "rearm", index=1)
    ns_per_turn(waiter, 10, ebx=1)
    vcpu = vcpu_on(memory, "beside")
    free = ns_per_turn(vcpu, turns, esi=LINE + _PAGE)
    beside = ns_per_turn(vcpu, turns, esi=BESIDE)
    if vcpu.stats["false_faults"] < turns:
        raise EngineError(f"the monitor is {waiter.monitor}, and its page was not protected")
    return beside - free


def _store_rate_row(settings: Settings) -> Row:
    """The best of several turns with and without waiters, taken in turn."""
    with waiting(settings.waiters) as memory:
        busy = vcpu_on(memory, "beside", index=settings.waiters)
        alone = vcpu_on(x86core.Memory(memory.size), "beside")
        pairs = [
            (
                ns_per_turn(busy, settings.turns, esi=0x80000),
                ns_per_turn(alone, settings.turns, esi=0x80000),
            )
            for _ in range(4 * settings.repeats)
        ]
    mine, free = (1e3 / min(values) for values in zip(*pairs, strict=True))
    name = f"stores beside {settings.waiters} waiting vCPUs"
    return Row(name, mine, "M/s", "alone", free, 0.98, at_least=True)


@contextmanager
def waiting(
    count: int, policy: int = x86core.MWAIT_FAULT, looks_every_ns: int = 1_000_000
) -> Iterator[x86core.Memory]:
    """RAM in which so many vCPUs wait in MWAIT, each on a page of its own.

    Under MWAIT_SCAN each of them looks at its line every `looks_every_ns` by itself.
    """
    memory = x86core.Memory(MEMORY_SIZE + (4 << 20))
    with ExitStack() as stack:
        vcpus = [_waiter(memory, index, policy, looks_every_ns, stack) for index in range(count)]
        _await(lambda: all(vcpu.waiting == "mwait" for vcpu in vcpus))
        yield memory


def _waiter(
    memory: x86core.Memory, index: int, policy: int, looks_every_ns: int, stack: ExitStack
) -> x86core.VCPU:
    vcpu = vcpu_on(memory, "wait", index)
    vcpu.mwait_policy, vcpu.mwait_scan_ns = policy, looks_every_ns
    vcpu.eax = LINE + index * _PAGE
    thread = threading.Thread(target=vcpu.run, name=f"vCPU {index}")
    thread.start()
    stack.callback(thread.join)
    stack.callback(vcpu.kick)
    return vcpu


def _await(condition: Callable[[], bool]) -> None:
    deadline = perf_counter() + _WAIT_SECONDS
    while not condition():
        if perf_counter() > deadline:
            raise EngineError(f"the vCPUs are not asleep after {_WAIT_SECONDS:.0f} s")
        sleep(0.001)
