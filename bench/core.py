"""How fast the core is: instructions, idle exits, vCPUs side by side.

`bench.protection` has the rows of protected mode, `bench.core_report` shows them all.

Each figure is the best of several turns, which alternate between the core and its peer so that both
meet the same host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from bench.engines import CoreEngine
from bench.idling import IdleCore, IdleMachine
from bench.loops import LOOPS, PROGRAMS, STRINGS, Loop
from bench.memcpy import HostCopy
from bench.parallel import instruction_rate
from bench.protection import EVENTS, PAGED_LOOPS, EventRow, PagedRow, measure_event, measure_paged
from bench.rounds import alternate


class PeerMissingError(ImportError):
    """Unicorn is not installed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`repeats` turns for each figure; `exits` and `seconds` in a turn of idle exits and of
    parallel vCPUs; with or without Unicorn.
    """

    repeats: int = 3
    exits: int = 500_000
    seconds: float = 0.5
    peer: bool = True


@dataclass(frozen=True, slots=True)
class LoopRow:
    """Millions of guest instructions per second in a loop; `in_mean`: whether it is of LOOPS."""

    loop: str
    summary: str
    instructions: int
    mips: float
    peer_mips: float | None
    in_mean: bool = True

    @property
    def ratio(self) -> float | None:
        """Times the peer."""
        return None if self.peer_mips is None else self.mips / self.peer_mips


@dataclass(frozen=True, slots=True)
class StringRow:
    """Bytes per nanosecond of the host that a repeated string instruction moves.

    The core counts it as one instruction, Unicorn each repetition: `instructions` and `mips` are
    the core's, and no measure of it beside another. `memcpy_bytes_per_ns` is the host's own speed
    in copying as many bytes at a time.
    """

    loop: str
    summary: str
    instructions: int
    mips: float
    bytes: int
    bytes_per_ns: float
    peer_bytes_per_ns: float | None
    memcpy_bytes_per_ns: float

    @property
    def ratio(self) -> float | None:
        """Times the peer, in bytes."""
        peer = self.peer_bytes_per_ns
        return None if peer is None else self.bytes_per_ns / peer


@dataclass(frozen=True, slots=True)
class ExitRow:
    """Idle exits per second."""

    through: str
    per_second: float
    peer_per_second: float | None

    @property
    def ratio(self) -> float | None:
        """Times the peer."""
        return None if self.peer_per_second is None else self.per_second / self.peer_per_second


@dataclass(frozen=True, slots=True)
class ParallelRow:
    """Instructions per second of one vCPU, and of two on two threads together."""

    one: float
    two: float

    @property
    def ratio(self) -> float:
        """Times one vCPU; 2 would be perfect."""
        return self.two / self.one


Row = LoopRow | StringRow | PagedRow | EventRow | ExitRow | ParallelRow


def require_peer() -> str:
    """Unicorn's version. Raises PeerMissingError, which says how to install it."""
    try:
        from bench import peer
    except ImportError:
        raise PeerMissingError(
            "Unicorn is not installed, so there is nothing to compare with:"
            " install it with `pip install .[bench]`, or leave it out with --no-peer"
        ) from None
    return peer.VERSION


def run(settings: Settings) -> Iterator[Row]:
    """All that is measured on one CPU, each row as soon as it is there.

    Raises PeerMissingError, and EngineError when an engine goes wrong or the two do not agree.
    """
    if settings.peer:
        require_peer()
    for loop in (*LOOPS, *PROGRAMS):
        yield measure_loop(loop, settings)
    for loop in STRINGS:
        yield measure_string(loop, settings)
    for loop in PAGED_LOOPS:
        yield measure_paged(loop, settings.repeats, peer=settings.peer)
    for event in EVENTS:
        yield measure_event(event, settings.repeats, peer=settings.peer)
    yield from measure_exits(settings)


def measure_loop(loop: Loop, settings: Settings) -> LoopRow:
    """Time one loop, once both engines have come to the same state by as many instructions."""
    core, contestants = _engines(loop, settings)
    seconds = [min(turns) for turns in alternate(contestants, settings.repeats)]
    mips = [core.instructions / each / 1e6 for each in seconds]
    return LoopRow(
        loop=loop.name,
        summary=loop.summary,
        instructions=core.instructions,
        mips=mips[0],
        peer_mips=mips[1] if settings.peer else None,
        in_mean=loop in LOOPS,
    )


def measure_string(loop: Loop, settings: Settings) -> StringRow:
    """Time one string instruction, after the same checks, and the host's memcpy()."""
    core, contestants = _engines(loop, settings)
    host = HostCopy(loop.string_bytes // loop.size)
    contestants.append(lambda: host.copies(loop.size))
    seconds = [min(turns) for turns in alternate(contestants, settings.repeats)]
    rates = [loop.string_bytes / each / 1e9 for each in seconds]
    return StringRow(
        loop=loop.name,
        summary=loop.summary,
        instructions=core.instructions,
        mips=core.instructions / seconds[0] / 1e6,
        bytes=loop.string_bytes,
        bytes_per_ns=rates[0],
        peer_bytes_per_ns=rates[1] if settings.peer else None,
        memcpy_bytes_per_ns=rates[-1],
    )


def _engines(loop: Loop, settings: Settings) -> tuple[CoreEngine, list[Callable[[], float]]]:
    """The core, and a run of each engine; they have been found to agree."""
    core = CoreEngine(loop)
    contestants: list[Callable[[], float]] = [lambda: core.run(loop.size)]
    if settings.peer:
        from bench.peer import UnicornEngine, check_agreement

        peer = UnicornEngine(loop)
        check_agreement(core, peer, loop.size)
        contestants.append(lambda: peer.run(loop.size))
    return core, contestants


def measure_exits(settings: Settings) -> Iterator[ExitRow]:
    """Idle exits: `VCPU.run` alone, and the whole VMM around it."""
    core, machine = IdleCore(), IdleMachine()
    contestants: list[Callable[[], float]] = [
        lambda: core.exits(settings.exits),
        lambda: machine.exits(settings.exits),
    ]
    if settings.peer:
        from bench.peer import IdleUnicorn

        peer = IdleUnicorn()
        contestants.append(lambda: peer.exits(settings.exits))
    rates = [settings.exits / min(turns) for turns in alternate(contestants, settings.repeats)]
    peer_rate = rates[2] if settings.peer else None
    yield ExitRow("VCPU.run()", rates[0], peer_rate)
    yield ExitRow("Machine.run()", rates[1], peer_rate)


def measure_parallel(settings: Settings) -> ParallelRow:
    """One vCPU and two; not to be called while this thread is pinned to one CPU.

    Raises EngineError on a host with one CPU.
    """
    contestants = [lambda: instruction_rate(1, settings.seconds)]
    contestants.append(lambda: instruction_rate(2, settings.seconds))
    one, two = (max(turns) for turns in alternate(contestants, settings.repeats))
    return ParallelRow(one, two)


def mean_ratio(rows: Sequence[Row]) -> float | None:
    """The geometric mean of the ratios of LOOPS; None without a peer."""
    loops = [row for row in rows if isinstance(row, LoopRow) and row.in_mean]
    ratios = [row.ratio for row in loops if row.ratio is not None]
    return geometric_mean(ratios) if ratios else None
