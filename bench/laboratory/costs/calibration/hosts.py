"""What the host's threads do: look, sleep, wake one another, and take deferred work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Final

import numpy as np

import x86core
from bench.bare import Handoffs, Mailbox, look_ns, yield_ns
from bench.engines import EngineError
from bench.laboratory.costs.calibration.probe import Probe, Turn
from bench.wake import ASLEEP_INTERVAL, POLLING_INTERVAL, guest_wake_ns
from vmm.work import VCPUExecutor

_LOOKS: Final = 100_000
_YIELDS: Final = 10_000
_KICKS: Final = 20_000
_TASKS: Final = 2_000

_SPUN_WAKES: Final = 400
_FUTEX_WAKES: Final = 200

#: Long enough for an idle core to fall into a deep state.
RESTED_INTERVAL: Final = 5_000_000
_RESTED_WAKES: Final = 20


def together(play: Callable[[int], float], *, apart: bool = False) -> float:
    """The larger of what two threads return that play at the same time, as 0 and as 1.

    With `apart`, each has a CPU to itself; raises EngineError on a host with one CPU.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if apart and len(allowed) < 2:
        raise EngineError("wakes across CPUs need two CPUs of the host")
    results = [0.0, 0.0]

    def run(me: int) -> None:
        if apart:
            os.sched_setaffinity(0, {allowed[me - 2]})  # this thread's alone
        results[me] = play(me)

    threads = [threading.Thread(target=run, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(results)


def _median_wake(by_futex: bool, wakes: int, interval: int, of_calls: bool = False) -> float:
    """Of the latencies, or of what the waker's calls took."""
    mailbox = Mailbox(wakes)

    def play(me: int) -> float:
        if me:
            mailbox.wake_through(by_futex, interval)
        else:
            mailbox.sleep_through(by_futex)
        return 0.0

    together(play, apart=True)
    times = mailbox.calls if of_calls else mailbox.latencies
    return float(np.median(times[wakes // 4 :]))  # the first ones find cold caches


@contextmanager
def _ready(turn: Turn) -> Iterator[Turn]:
    yield turn


def _kick_turn() -> float:
    vcpu = x86core.VCPU(x86core.Memory(1 << 20))
    kick = vcpu.kick
    start = perf_counter()
    for _ in repeat(None, _KICKS):
        kick()
    return (perf_counter() - start) * 1e9 / _KICKS


class _Idler:
    """Stands for a vCPU that has nothing to run."""

    asleep = False
    woken = False

    def request_attention(self) -> None:
        """The tasks are asked for anyway."""

    def kick(self) -> None:
        """Nothing runs that could be left."""


def _nothing() -> None:
    """The shortest task."""


def _task_turn() -> float:
    """Tasks of a step each: submitted, and done in the idle time of a vCPU."""
    executor, idler = VCPUExecutor(), _Idler()
    executor.attach(idler)
    start = perf_counter()
    for _ in repeat(None, _TASKS):
        executor.submit(_nothing)
        executor.attend(idler, idle=True)
    return (perf_counter() - start) * 1e9 / _TASKS


def _probe(name: str, summary: str, turn: Turn, *, one_cpu: bool, scheduled: bool = True) -> Probe:
    return Probe(name, summary, partial(_ready, turn), one_cpu, scheduled)


PROBES: Final = (
    _probe(
        "look",
        "a turn of a loop that looks at a word and pauses",
        partial(look_ns, _LOOKS),
        one_cpu=True,
        scheduled=False,
    ),
    _probe(
        "yield_alone",
        "sched_yield() with nobody else to run",
        partial(yield_ns, _YIELDS),
        one_cpu=True,
        scheduled=False,
    ),
    _probe(
        "yield_in_turn",
        "two sched_yield(), by two threads of one CPU",
        partial(together, lambda _: yield_ns(_YIELDS)),
        one_cpu=True,
    ),
    _probe(
        "handoff_one_cpu",
        "a futex wakes a thread on the same CPU, and the waker sleeps",
        lambda: together(Handoffs(_YIELDS).play),
        one_cpu=True,
    ),
    _probe(
        "wake_spinning",
        "a store until a thread that spins on another CPU has seen it, median",
        partial(_median_wake, False, _SPUN_WAKES, POLLING_INTERVAL),
        one_cpu=False,
    ),
    _probe(
        "wake_futex",
        "a futex wake until the thread runs on another CPU, median",
        partial(_median_wake, True, _FUTEX_WAKES, ASLEEP_INTERVAL),
        one_cpu=False,
    ),
    _probe(
        "wake_futex_call",
        "the call of that wake, median",
        partial(_median_wake, True, _FUTEX_WAKES, ASLEEP_INTERVAL, of_calls=True),
        one_cpu=False,
    ),
    _probe(
        "wake_futex_rested",
        "a futex wake after 5 ms of rest, median",
        partial(_median_wake, True, _RESTED_WAKES, RESTED_INTERVAL),
        one_cpu=False,
    ),
    _probe(
        "wake_passthrough",
        "a guest's store until MWAIT goes on that was passed through, median",
        partial(guest_wake_ns, "passthrough", _SPUN_WAKES, POLLING_INTERVAL),
        one_cpu=False,
    ),
    _probe("kick", "VCPU.kick()", _kick_turn, one_cpu=True, scheduled=False),
    _probe(
        "task",
        "a task of nothing, submitted and done on a vCPU's thread",
        _task_turn,
        one_cpu=True,
        scheduled=False,
    ),
)
