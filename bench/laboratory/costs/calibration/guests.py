"""What a guest does in the emulator's core, timed on one vCPU in loops of bench/loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Final

import x86core
from bench.engines import CoreEngine, EngineError
from bench.idling import IdleMachine
from bench.laboratory.costs.calibration.probe import Probe, Turn
from bench.loops import CODE_ADDRESS, LOOPS, STACK_TOP, Loop, code
from bench.turns import ns_per_turn, vcpu_on
from bench.wake import BESIDE, LINE, waiting

_RAM_SIZE: Final = 4 << 20
_PAGE: Final = 4096

_TURNS: Final = 50_000
_EXITS: Final = 5_000
_PAGES: Final = 2048

#: Lines that the entry of a vCPU compares. Their vCPUs look by themselves once a minute, so that
#: they do not disturb what is timed.
SCANNED_LINES: Final = 64
_NEVER_NS: Final = 60 * 10**9

#: Registers of the local APIC, and a command: vector 41h, fixed, to the one in the upper half or to
#: the sender itself.
_COMMAND, _INITIAL_COUNT = 0xFEE00300, 0xFEE00380
_TO_OTHER, _TO_SELF = 0x4041, 0x44041


def _loop(loop: Loop) -> Probe:
    return Probe(
        f"instruction_{loop.name}",
        f"an instruction of a loop: {loop.summary}",
        partial(_instruction, loop),
    )


@contextmanager
def _instruction(loop: Loop) -> Iterator[Turn]:
    """A fiftieth of what the benchmark of the core does, or the loop once."""
    engine = CoreEngine(loop)
    size = max(loop.size // 50, 1) if loop.name != "fib" else loop.size - 8

    def turn() -> float:
        seconds = engine.run(size)
        return seconds * 1e9 / engine.instructions

    yield turn


@contextmanager
def _turns(program: str, policy: int | None = None, **registers: int) -> Iterator[Turn]:
    """A turn of a loop; a second vCPU is there, and does nothing."""
    memory = x86core.Memory(_RAM_SIZE)
    vcpu = vcpu_on(memory, program)
    _other = x86core.VCPU(memory, 1)
    if policy is not None:
        vcpu.mwait_policy = policy
    ns_per_turn(vcpu, 10, **registers)  # what comes with the first turn only
    yield lambda: ns_per_turn(vcpu, _TURNS, **registers)


@contextmanager
def _interrupts() -> Iterator[Turn]:
    """A turn in which the vCPU interrupts itself, and takes it."""
    vcpu = vcpu_on(x86core.Memory(_RAM_SIZE), "apic")

    def turn() -> float:
        before = vcpu.stats["irq_injections"]
        result = ns_per_turn(vcpu, _TURNS, esi=_COMMAND, eax=_TO_SELF, edx=0, ebx=1)
        taken = vcpu.stats["irq_injections"] - before
        if taken != _TURNS:
            raise EngineError(f"the guest took {taken} interrupts of {_TURNS}")
        return result

    yield turn


@contextmanager
def _monitor_pages(again: bool) -> Iterator[Turn]:
    """MONITOR on one page after the other, for the first time or again."""

    def turn() -> float:
        memory = x86core.Memory(LINE + _PAGES * _PAGE)
        memory.write(LINE, bytes(_PAGES * _PAGE))  # the host's own page faults come here
        vcpu = vcpu_on(memory, "protect")
        first = ns_per_turn(vcpu, _PAGES)
        if vcpu.stats["page_protections"] != _PAGES:
            raise EngineError("not every page was protected")
        return ns_per_turn(vcpu, _PAGES) if again else first

    yield turn


@contextmanager
def _stores(beside: bool) -> Iterator[Turn]:
    """A store to a page that is monitored, not to the line; or to another page."""
    memory = x86core.Memory(_RAM_SIZE)
    waiter = vcpu_on(memory, "rearm", index=1)
    ns_per_turn(waiter, 10, ebx=1)
    vcpu = vcpu_on(memory, "beside")
    address = BESIDE if beside else LINE + _PAGE

    def turn() -> float:
        before = vcpu.stats["false_faults"]
        result = ns_per_turn(vcpu, _TURNS, esi=address)
        if (vcpu.stats["false_faults"] - before >= _TURNS) is not beside:
            raise EngineError(f"the monitor is {waiter.monitor}: not the stores that were meant")
        return result

    yield turn


def _entry_beside(memory: x86core.Memory, index: int) -> Turn:
    """`VCPU.run` on a guest that does nothing but MWAIT."""
    memory.write(CODE_ADDRESS, code("mwait"))
    vcpu = x86core.VCPU(memory, index)
    vcpu.userspace_exits = x86core.USERSPACE_EXIT_MWAIT

    def turn() -> float:
        vcpu.start_flat32(CODE_ADDRESS, STACK_TOP)
        vcpu.ebx = _EXITS + 1
        start = perf_counter()
        for _ in repeat(None, _EXITS):
            if vcpu.run() != x86core.EXIT_MWAIT:
                raise EngineError("x86core came back for something else than MWAIT")
        return (perf_counter() - start) * 1e9 / _EXITS

    return turn


@contextmanager
def _entries() -> Iterator[Turn]:
    yield _entry_beside(x86core.Memory(_RAM_SIZE), 0)


@contextmanager
def _scanning_entries() -> Iterator[Turn]:
    with waiting(SCANNED_LINES, x86core.MWAIT_SCAN, _NEVER_NS) as memory:
        yield _entry_beside(memory, SCANNED_LINES)


@contextmanager
def _vmm_exits() -> Iterator[Turn]:
    machine = IdleMachine()
    yield lambda: machine.exits(_EXITS) * 1e9 / _EXITS


def _mwait(policy: int) -> AbstractContextManager[Turn]:
    return _turns("mwait_turns", policy, ebx=1)


PROBES: Final = (
    *map(_loop, LOOPS),
    Probe("turn", "a turn of the bare loop", partial(_turns, "mwait_turns", ebx=0)),
    Probe("mwait_nop", "MWAIT as a NOP", partial(_mwait, x86core.MWAIT_NOP)),
    Probe("mwait_yield", "MWAIT as sched_yield()", partial(_mwait, x86core.MWAIT_YIELD)),
    Probe("vmm_exit", "MWAIT out to the VMM's loop and back", _vmm_exits),
    Probe("entry", "VCPU.run() from MWAIT to MWAIT", _entries),
    Probe("entry_scanning", f"the same beside {SCANNED_LINES} scanned lines", _scanning_entries),
    Probe("monitor", "MONITOR on a protected page", partial(_turns, "rearm", ebx=1)),
    Probe("monitor_first", "MONITOR on a page that is not", partial(_monitor_pages, False)),
    Probe("monitor_again", "MONITOR on the same pages again", partial(_monitor_pages, True)),
    Probe("store", "a store to a free page", partial(_stores, False)),
    Probe("store_beside", "a store beside a monitored line", partial(_stores, True)),
    Probe(
        "ipi_to_other",
        "an IPI to a vCPU that is not in its guest",
        partial(_turns, "apic", esi=_COMMAND, eax=_TO_OTHER, edx=1 << 24, ebx=0),
    ),
    Probe(
        "ipi_to_self",
        "an IPI to itself with interrupts off",
        partial(_turns, "apic", esi=_COMMAND, eax=_TO_SELF, edx=0, ebx=0),
    ),
    Probe("interrupt", "an IPI to itself, taken, with the end of interrupt", _interrupts),
    Probe(
        "timer_start",
        "a timer of the local APIC started anew",
        partial(_turns, "apic", esi=_INITIAL_COUNT, eax=0xFFFF_FFFF, edx=0, ebx=0),
    ),
)
