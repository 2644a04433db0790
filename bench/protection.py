"""What protected mode costs: loops under paging, interrupts, page faults, what the TLB has lost.

Each figure is the best of several turns, as in `bench.core`. Each turn makes sure that the guest
did what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from bench.engines import CoreEngine, EngineError
from bench.loops import LARGE_PAGE, LOOPS, SMALL_PAGE, Loop
from bench.rounds import alternate


@dataclass(frozen=True, slots=True)
class Event:
    """A guest that brings about the same again and again, ECX times.

    Its handler counts in EAX, if `handled`. At least `misses` TLB misses belong to each. `peer`:
    whether Unicorn can do the same.
    """

    loop: Loop
    handled: bool = False
    misses: int = 0
    peer: bool = False


#: LOOPS, a quarter as long: each is run five times in a round.
PAGED_LOOPS = tuple(
    replace(loop, size=size) for loop, size in zip(LOOPS, (2_500_000, 305, 20, 30), strict=True)
)

#: Unicorn hands interrupts and exceptions to its caller, never to a gate of the guest; and its TLB
#: grows until it has all pages, so that only what makes it forget makes it look them up again.
EVENTS = (
    Event(Loop("gate", "INT and IRET, level 0", 600_000), handled=True),
    Event(Loop("ring", "INT and IRET, level 3 to 0", 300_000), handled=True),
    Event(Loop("ipi", "self-IPI, EOI and IRET", 300_000), handled=True),
    Event(Loop("fault", "page fault, level 3 to 0", 300_000), handled=True),
    Event(Loop("walk", "TLB miss", 3_000_000), misses=1),
    Event(Loop("invlpg", "INVLPG and refill", 1_000_000), misses=1, peer=True),
    Event(Loop("cr3", "CR3 load and 16 refills", 100_000), misses=16, peer=True),
)

#: For the comparison with the peer, which counts instructions slowly.
_CHECKED_EVENTS = 100
_CHECKED_SIZE = 10

#: TLB misses of a run beside those of its events: at the start, and of the stack.
_OTHER_MISSES = 16


@dataclass(frozen=True, slots=True)
class PagedRow:
    """Millions of guest instructions per second in a loop: without paging, and by size of pages."""

    loop: str
    summary: str
    unpaged_mips: float
    mips: float
    large_page_mips: float
    peer_unpaged_mips: float | None
    peer_mips: float | None

    @property
    def ratio(self) -> float:
        """Times itself without paging, with 4 KiB pages."""
        return self.mips / self.unpaged_mips

    @property
    def large_page_ratio(self) -> float:
        """The same with 4 MiB pages."""
        return self.large_page_mips / self.unpaged_mips

    @property
    def peer_ratio(self) -> float | None:
        """The same for the peer, with 4 KiB pages."""
        if self.peer_mips is None or self.peer_unpaged_mips is None:
            return None
        return self.peer_mips / self.peer_unpaged_mips


@dataclass(frozen=True, slots=True)
class EventRow:
    """Nanoseconds that an event takes, with the few instructions that make a loop of it."""

    event: str
    summary: str
    events: int
    nanoseconds: float
    peer_nanoseconds: float | None

    @property
    def ratio(self) -> float | None:
        """Times the peer, in speed."""
        peer = self.peer_nanoseconds
        return None if peer is None else peer / self.nanoseconds


class EventEngine(CoreEngine):
    """The core with a guest of EVENTS."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.loop)
        self._event = event

    def run(self, size: int) -> float:
        """As CoreEngine. Raises EngineError too when there were not so many events."""
        seconds = super().run(size)
        if self._event.handled and self.vcpu.eax != size:
            raise EngineError(f"{self.loop.name}: the guest handled {self.vcpu.eax:,} of {size:,}")
        # Counted since the start, as all statistics.
        misses, wanted = self.vcpu.stats["tlb_misses"], self._event.misses * size
        if self._event.misses and not wanted <= misses <= wanted + _OTHER_MISSES:
            raise EngineError(f"{self.loop.name}: {misses:,} TLB misses, not {wanted:,}")
        return seconds


def measure_paged(loop: Loop, repeats: int, *, peer: bool) -> PagedRow:
    """Time a loop without paging, with 4 KiB and with 4 MiB pages.

    Raises EngineError when the guest goes wrong, takes other instructions under paging, or leaves
    another state than the peer.
    """
    forms = [replace(loop, page_size=size) for size in (0, SMALL_PAGE, LARGE_PAGE)]
    cores = [CoreEngine(form) for form in forms]
    contestants: list[Callable[[], float]] = [_runner(core, loop.size) for core in cores]
    if peer:
        from bench.peer import UnicornEngine, check_agreement

        for form, core in list(zip(forms, cores, strict=True))[:2]:
            engine = UnicornEngine(form)
            check_agreement(core, engine, _CHECKED_SIZE)
            contestants.append(_runner(engine, loop.size))
    seconds = [min(turns) for turns in alternate(contestants, repeats)]
    instructions = cores[0].instructions
    if {core.instructions for core in cores} != {instructions}:
        raise EngineError(f"{loop.name}: other instructions under paging")
    mips = [instructions / each / 1e6 for each in seconds]
    return PagedRow(loop.name, loop.summary, *mips[:3], *(mips[3:] if peer else (None, None)))


def measure_event(event: Event, repeats: int, *, peer: bool) -> EventRow:
    """Time an event. Raises EngineError when it did not take place, or the peer does not agree."""
    core, size = EventEngine(event), event.loop.size
    contestants: list[Callable[[], float]] = [_runner(core, size)]
    compared = peer and event.peer
    if compared:
        from bench.peer import UnicornEngine, check_agreement

        check_agreement(core, UnicornEngine(event.loop), _CHECKED_EVENTS)
        contestants.append(_runner(UnicornEngine(event.loop), size))
    seconds = [min(turns) for turns in alternate(contestants, repeats)]
    nanoseconds = [each / size * 1e9 for each in seconds]
    return EventRow(
        event=event.loop.name,
        summary=event.loop.summary,
        events=size,
        nanoseconds=nanoseconds[0],
        peer_nanoseconds=nanoseconds[1] if compared else None,
    )


class _Engine(Protocol):
    def run(self, size: int) -> float: ...


def _runner(engine: _Engine, size: int) -> Callable[[], float]:
    return lambda: engine.run(size)
