"""Runs a phase: a thread for each vCPU, a watchdog for each that sleeps, and who disturbs them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

import x86core as x86
from bench.periodic import Periodic
from bench.watchdog import Watchdog
from tests.stress import layout
from tests.stress.disturb import Disturber
from tests.stress.guest import FIRST_VECTOR, build, has_faulted
from tests.stress.host import HostMember, HostNoise
from tests.stress.plan import CHANGING, DISTURBANCES, Member, Phase
from tests.stress.watch import Counters, Incident, Receiver, lost_wake, state_of
from vmm.idle import IdlePolicy, idle_policy

#: How often the watchdogs look, how often somebody is disturbed, and how often the host stores.
_LOOK_SECONDS = 0.02
_DISTURB_SECONDS = 0.0007
_NOISE_SECONDS = 0.0003
#: How long the tokens may take to come to rest, beyond the watchdogs' patience.
_END_SECONDS = 60.0

#: What run() may return and the guest goes on.
_HARMLESS = {x86.EXIT_INTR, x86.EXIT_LIMIT, x86.EXIT_MWAIT, x86.EXIT_IO}


class StressError(RuntimeError):
    """A guest went wrong or did not come to an end. `incidents` are the losses before, and this."""

    def __init__(self, *incidents: Incident) -> None:
        super().__init__(incidents[-1].what)
        self.incidents = incidents


@dataclass(frozen=True, slots=True)
class Count:
    """Of one vCPU in a phase: tokens received, waits, wakes without a token, lost wakes."""

    member: Member
    handoffs: int
    waits: int
    spurious: int
    lost: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a phase: a count for each vCPU that idles, the statistics of all, and the losses."""

    phase: Phase
    counts: tuple[Count, ...]
    stats: Mapping[str, int]
    losses: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class _Idler:
    """A vCPU that waits for its tokens in MWAIT, and who looks after it."""

    member: Member
    vcpu: x86.VCPU
    counters: Counters
    watchdog: Watchdog


class _Runner(threading.Thread):
    """Keeps a vCPU in run() until its guest halts or `closed` is set; `failure`: what else came."""

    def __init__(self, vcpu: x86.VCPU, limit: int, closed: threading.Event) -> None:
        super().__init__(name=f"vCPU {vcpu.index}", daemon=True)
        self.vcpu = vcpu
        self.failure: str | None = None
        self._limit = limit
        self._closed = closed

    def run(self) -> None:
        vcpu = self.vcpu
        while (reason := vcpu.run(self._limit)) != x86.EXIT_HLT:
            if self._closed.is_set():
                return
            vcpu.immediate_exit = 0
            if reason == x86.EXIT_IRQ_WINDOW_OPEN:
                vcpu.request_interrupt_window = 0
                vcpu.interrupt(FIRST_VECTOR)
            elif reason not in _HARMLESS:
                self.failure = x86.EXIT_NAMES.get(reason, f"exit {reason}")
                return
        if has_faulted(vcpu):
            self.failure = f"exception {vcpu.last_event}"


class Arena:
    """Guest memory and vCPUs for one phase; it runs once.

    A vCPU sleeps too long after `patience_ns`. `look_before_monitor` builds the guest that loses
    wakes.
    """

    def __init__(
        self, phase: Phase, patience_ns: int, *, look_before_monitor: bool = False
    ) -> None:
        self._phase = phase
        self._policies = [idle_policy(name, hlt="exit") for name in phase.policies]
        self._patience_ns = patience_ns
        self._random = Random(phase.number)
        self._memory = x86.Memory(layout.RAM)
        self._vcpus = build(self._memory, phase, look_before_monitor=look_before_monitor)
        for vcpu in self._vcpus.values():
            self._first_policy().apply(vcpu)
        self._losses: list[Incident] = []
        self._idlers = [
            self._idler(receiver, sender)
            for sender, receiver in phase.handoffs
            if receiver.wait == "idle"
        ]

    @property
    def handoffs(self) -> int:
        """Tokens that vCPUs have received in their idle loops so far."""
        return sum(idler.counters.received for idler in self._idlers)

    @property
    def lost(self) -> int:
        """Losses found so far."""
        return len(self._losses)

    def run(self, seconds: float, on_look: Callable[[], object]) -> Outcome:
        """Let the tokens go round for so long, then bring them to rest.

        Calls `on_look` every now and then. Raises StressError when a guest goes wrong or does not
        come to an end.
        """
        closed = threading.Event()
        runners = [_Runner(vcpu, self._phase.limit, closed) for vcpu in self._vcpus.values()]
        with ExitStack() as stack:
            stack.callback(_close, runners, closed)
            threads = [*runners, *self._host_members(closed)]
            for thread in threads:
                thread.start()
            for action, period in self._disturbances():
                stack.enter_context(Periodic(action, period, "disturbance"))
            self._oversee(threads, runners, time.monotonic() + seconds, on_look)
        return self._outcome()

    def _first_policy(self) -> IdlePolicy:
        if self._phase.policy == CHANGING:
            return self._random.choice(self._policies)
        return idle_policy(self._phase.policy, hlt="exit")

    def _idler(self, member: Member, sender: Member) -> _Idler:
        vcpu = self._vcpus[member.index]
        counters, sent = Counters(self._memory, member.index), Counters(self._memory, sender.index)

        def on_loss() -> None:
            self._losses.append(lost_wake(self._phase, member, sender, [*self._vcpus.values()]))

        receiver = Receiver(vcpu, counters, sent, on_loss)
        return _Idler(member, vcpu, counters, Watchdog(receiver, receiver, self._patience_ns))

    def _host_members(self, closed: threading.Event) -> list[HostMember]:
        return [
            HostMember(self._memory, sender, receiver.mailbox, closed)
            for sender, receiver in self._phase.handoffs
            if sender.wait == "host"
        ]

    def _disturbances(self) -> Iterator[tuple[Callable[[], object], float]]:
        """What is done again and again while the phase lasts, and after how many seconds."""
        kinds = DISTURBANCES[self._phase.disturbance]
        if kinds:
            watched = [(idler.vcpu, idler.watchdog) for idler in self._idlers]
            yield Disturber(watched, kinds, self._policies, self._random), _DISTURB_SECONDS
        if self._phase.host_noise:
            yield HostNoise(self._memory, self._phase.pages, self._random), _NOISE_SECONDS

    def _oversee(
        self,
        threads: Sequence[threading.Thread],
        runners: Sequence[_Runner],
        stop_at: float,
        on_look: Callable[[], object],
    ) -> None:
        """Look after the idlers until every thread has ended, from `stop_at` on by themselves."""
        stopped = False
        while any(thread.is_alive() for thread in threads):
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if now >= stop_at and not stopped:
                self._memory.write(layout.STOP, b"\1")
                stopped = True
            for idler in self._idlers:
                idler.watchdog.look(int(now * 1e9))
            on_look()
            failures = [f"vCPU {r.vcpu.index}: {r.failure}" for r in runners if r.failure]
            if now >= stop_at + _END_SECONDS:
                failures.append(f"not at rest after {_END_SECONDS:.0f} s")
            if failures:
                states = tuple(state_of(vcpu) for vcpu in self._vcpus.values())
                incident = Incident(self._phase, "; ".join(failures), states)
                raise StressError(*self._losses, incident)

    def _outcome(self) -> Outcome:
        counts = tuple(
            Count(
                member=idler.member,
                handoffs=idler.counters.received,
                waits=idler.vcpu.stats["mwait_waits"],
                spurious=idler.counters.spurious,
                lost=idler.watchdog.lost,
            )
            for idler in self._idlers
        )
        stats: Counter[str] = Counter()
        for vcpu in self._vcpus.values():
            stats.update(vcpu.stats)
        return Outcome(self._phase, counts, stats, tuple(self._losses))


def _close(runners: Sequence[_Runner], closed: threading.Event) -> None:
    """Take every vCPU that is still there out of run(); none is when all came to rest."""
    closed.set()
    for runner in runners:
        if runner.is_alive():
            runner.vcpu.kick()
        if runner.ident is not None:
            runner.join()
