"""The modelled host: cores, and a scheduler that shares them out among threads.

It is a fair scheduler as Linux had from 2.6.23 to 6.5 (CFS), with one queue for all cores instead
of one for each with balancing between them, so a core never idles while a thread is ready. A thread
has the core for a slice, and longer while nobody else is ready. A thread that is woken takes the
core that it had, if that idles, else the one that went idle last. When none idles it preempts the
thread that has had most, if that is ahead of it by more than the granularity; one that slept comes
in behind by half a slice at most. Source: Linux, Documentation/scheduler/sched-design-CFS.rst.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import partial
from heapq import heappop, heappush
from typing import Final

from simpy.events import Event

from bench.laboratory.virtual.clock import Clock, Delay, Process
from bench.laboratory.virtual.costs import Nanoseconds

#: No core.
NOWHERE: Final = -1


class Host:
    """`cores` cores in an clock of SimPy whose time is in ns.

    `ready` is a heap of the threads that wait for a core, each with what it has had. `core_idle_ns`
    and the `cpu_ns` of all threads add up to the cores' time, once `settle` was called.
    """

    def __init__(
        self,
        clock: Clock,
        cores: int,
        costs: Nanoseconds,
        *,
        slice_ns: int,
        granularity_ns: int,
    ) -> None:
        self.clock = clock
        self.cores = cores
        self.costs = costs
        self.slice_ns = slice_ns
        self.core_idle_ns = 0
        self.switches = 0
        self._granularity_ns = granularity_ns
        self._count = 0
        self.ready: list[tuple[int, int, HostThread]] = []
        # What a thread has had minus the time now does not change while it runs.
        self._running: list[tuple[int, int, HostThread]] = []
        self._idle: dict[int, int] = dict.fromkeys(range(cores), clock.now)
        self._last: list[HostThread | None] = [None] * cores
        self._least = 0

    def enqueue(self, thread: HostThread) -> None:
        """A thread that slept is ready."""
        self._place(thread)
        if self._idle:
            core = (
                thread.last_core if thread.last_core in self._idle else next(reversed(self._idle))
            )
            self._grant(core, thread)
            return
        self._count += 1
        heappush(self.ready, (thread.had_ns, self._count, thread))
        now = self.clock.now
        base, _, victim = self._running[-1]
        ahead = base + now - thread.had_ns
        if ahead > self._granularity_ns or now - victim.scheduled_at >= self.slice_ns:
            victim.preempted = True
            victim.poke()

    def release(self, thread: HostThread, ready: bool) -> None:
        """A thread leaves its core: to sleep, or to go on when it is its turn again."""
        now = self.clock.now
        core = thread.core
        entry = (thread.had_ns - thread.accounted_at, thread.sequence, thread)
        del self._running[bisect_left(self._running, entry)]
        thread.settle(now)
        thread.core, thread.last_core = NOWHERE, core
        thread.preempted = False
        if ready:
            self._count += 1
            heappush(self.ready, (thread.had_ns, self._count, thread))
        if self.ready:
            self._grant(core, heappop(self.ready)[2])
        else:
            self._idle[core] = now

    def is_over(self, thread: HostThread) -> bool:
        """Whether a thread that runs is to leave its core to another one."""
        if not self.ready:
            thread.preempted = False
            return False
        return thread.preempted or self.clock.now - thread.scheduled_at >= self.slice_ns

    def settle(self) -> None:
        """Account for all time up to now."""
        now = self.clock.now
        for core, since in self._idle.items():
            self.core_idle_ns += now - since
            self._idle[core] = now
        for _, _, thread in self._running:
            thread.settle(now)

    def _place(self, thread: HostThread) -> None:
        """Who slept has not saved up more than half a slice."""
        if self._running:
            least = self._running[0][0] + self.clock.now
            if self.ready:
                least = min(least, self.ready[0][0])
            self._least = max(self._least, least)
        thread.had_ns = max(thread.had_ns, self._least - self.slice_ns // 2)

    def _grant(self, core: int, thread: HostThread) -> None:
        now = self.clock.now
        cost = 0
        since = self._idle.pop(core, None)
        if since is not None:
            self.core_idle_ns += now - since
            cost = self.costs.c6_exit if now - since >= self.costs.c6_after else self.costs.c1_exit
        if since is not None or self._last[core] is not thread:
            cost += self.costs.context_switch
            self.switches += 1
        self._last[core] = thread
        thread.core, thread.start_ns = core, cost
        thread.switch_ns += cost
        thread.scheduled_at = thread.accounted_at = now
        self._count += 1
        thread.sequence = self._count
        insort(self._running, (thread.had_ns - now, thread.sequence, thread))
        thread.granted.succeed()


class HostThread:
    """A thread of the modelled host. `live` is its process: it begins asleep, and starts by
    `start`, or when somebody calls `wake`.

    `cpu_ns` is how long it has held a core, `switch_ns` how much of that went by until it could
    use it, and `had_ns` what the scheduler goes by. `lag_ns` is what it has already done, and not
    yet taken the time for: an event of the model is saved wherever the next one can have it.
    """

    __slots__ = (
        "_held",
        "accounted_at",
        "asleep",
        "clock",
        "core",
        "cpu_ns",
        "granted",
        "had_ns",
        "host",
        "lag_ns",
        "last_core",
        "preempted",
        "scheduled_at",
        "sequence",
        "start_ns",
        "switch_ns",
    )

    def __init__(self, host: Host) -> None:
        self.host = host
        self.clock = host.clock
        self.cpu_ns = self.had_ns = self.switch_ns = self.lag_ns = 0
        self.core = self.last_core = NOWHERE
        self.scheduled_at = self.accounted_at = self.start_ns = self.sequence = 0
        self.preempted = False
        self.asleep = False
        self.granted = Event(host.clock)
        self._held: Event | None = None

    def start(self) -> None:
        """Begin its process at once."""
        self.clock.process(self._begin())

    def live(self) -> Process:
        """What it does. It has a core whenever this goes on."""
        raise NotImplementedError

    def wake(self, after_ns: int = 0) -> bool:
        """Have it ready after so many ns, if it sleeps; whether it did."""
        if not self.asleep:
            return False
        self.asleep = False
        if after_ns:
            self.clock.call_at(self.clock.now + after_ns, self._ready)
        else:
            self.host.enqueue(self)
        return True

    @property
    def rests(self) -> bool:
        """Whether it sleeps, or holds a core only to wait."""
        return self.asleep or (self._held is not None and not self._held.triggered)

    def poke(self) -> None:
        """End its `hold`, if it is in one."""
        if self._held is not None and not self._held.triggered:
            self._held.succeed()

    def settle(self, now: int) -> None:
        """Account for the time that it has run."""
        ran = now - self.accounted_at
        self.cpu_ns += ran
        self.had_ns += ran
        self.accounted_at = now

    # Parts of a process. The thread has a core before and after.

    def spend(self, nanoseconds: int) -> Process:
        """Take the time for what it lags behind, and for so much more, in one piece."""
        nanoseconds += self.lag_ns
        self.lag_ns = 0
        if nanoseconds:
            yield Delay(self.clock, nanoseconds)

    def compute(self, nanoseconds: int) -> Process:
        """Compute for so long in all, wherever others come in between."""
        nanoseconds += self.lag_ns
        self.lag_ns = 0
        while nanoseconds > 0:
            began = self.clock.now
            yield from self.hold(began + nanoseconds)
            nanoseconds -= self.clock.now - began
            if self.host.is_over(self):
                yield from self.step_aside()

    def hold(self, until: int | None) -> Process:
        """Keep the core until a time, to the end of a slice at most, or until `poke`."""
        if self.lag_ns:
            yield from self.spend(0)
        now = self.clock.now
        end = now + self.host.slice_ns - (now - self.scheduled_at) % self.host.slice_ns
        if until is not None and until < end:
            end = until
        held = self._held = Event(self.clock)
        self.clock.call_at(end, partial(_end, held))
        yield held
        self._held = None

    def step_aside(self) -> Process:
        """Leave the core to another one, and go on when it is its turn again."""
        if self.lag_ns:
            yield from self.spend(0)
        granted = self.granted = Event(self.clock)
        self.host.release(self, ready=True)
        yield granted
        self.lag_ns = self.start_ns

    def sleep(self, until: int | None = None) -> Process:
        """Leave the core until `wake`, or until a timer of the host's has woken it. It must not
        lag.
        """
        yield self.fall_asleep(until)
        self.lag_ns = self.start_ns

    def fall_asleep(self, until: int | None) -> Event:
        """The same up to the wait, which is for this event."""
        granted = self.granted = Event(self.clock)
        self.asleep = True
        self.host.release(self, ready=False)
        if until is not None:
            self.clock.call_at(until, partial(self._due, granted))
        return granted

    def _begin(self) -> Process:
        self.host.enqueue(self)
        yield self.granted
        self.lag_ns = self.start_ns
        yield from self.live()
        self.host.release(self, ready=False)

    def _ready(self, timer: Event) -> None:
        self.host.enqueue(self)

    def _due(self, granted: Event, timer: Event) -> None:
        if self.granted is granted:
            self.wake(self.host.costs.thread_wake)


def _end(held: Event, timer: Event) -> None:
    if not held.triggered:
        held.succeed()
