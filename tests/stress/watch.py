"""Whether a wake is lost: a vCPU that sleeps although its token has been sent. And what to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import x86core as x86
from tests.stress import layout
from tests.stress.plan import Member, Phase


class Counters:
    """What a member of a ring has counted so far; reads are live."""

    def __init__(self, memory: x86.Memory, index: int) -> None:
        at = layout.received_at(index)
        self._words = memory.view()[at : at + 12].view("<u4")

    @property
    def received(self) -> int:
        """The number of the latest token that it has received."""
        return int(self._words[0])

    @property
    def sent(self) -> int:
        """The number of the latest token that it has sent; it is past its store."""
        return int(self._words[1])

    @property
    def spurious(self) -> int:
        """Returns from MWAIT that found no token."""
        return int(self._words[2])


class Receiver:
    """Waiter and mailbox of a `bench.watchdog.Watchdog`: a vCPU that idles until it has the token.

    A token counts as sent when the sender is past its store: one that the host has stopped in the
    middle of it has lost nothing yet. `on_loss` is called before the watchdog's kick.
    """

    def __init__(
        self, vcpu: x86.VCPU, counters: Counters, sender: Counters, on_loss: Callable[[], object]
    ) -> None:
        self._vcpu = vcpu
        self._counters = counters
        self._sender = sender
        self._on_loss = on_loss

    @property
    def asleep(self) -> bool:
        return self._vcpu.waiting == "mwait"

    def kick(self) -> None:
        self._on_loss()
        self._vcpu.kick()

    @property
    def need_resched(self) -> bool:
        return self._sender.sent > self._counters.received

    @property
    def handoffs(self) -> int:
        return self._counters.received

    @property
    def spurious(self) -> int:
        return self._counters.spurious


@dataclass(frozen=True, slots=True)
class VCPUState:
    """A vCPU at one moment; `waiting`, `monitor` and `line` as `x86core.VCPU` tells them."""

    index: int
    waiting: str
    monitor: str
    line: int
    eip: int
    mwait_policy: int
    userspace_exits: int
    disable_exits: int
    received: int
    sent: int
    stats: Mapping[str, int]


def state_of(vcpu: x86.VCPU) -> VCPUState:
    """The present state, from any thread; EIP is where the vCPU left its guest or fell asleep."""
    monitor, line = vcpu.monitor
    counters = Counters(vcpu.memory, vcpu.index)
    return VCPUState(
        index=vcpu.index,
        waiting=vcpu.waiting,
        monitor=monitor,
        line=line,
        eip=vcpu.eip,
        mwait_policy=vcpu.mwait_policy,
        userspace_exits=vcpu.userspace_exits,
        disable_exits=vcpu.disable_exits,
        received=counters.received,
        sent=counters.sent,
        stats={name: count for name, count in vcpu.stats.items() if count},
    )


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that does not happen on a correct core, and the state of every vCPU then."""

    phase: Phase
    what: str
    states: tuple[VCPUState, ...]


def lost_wake(
    phase: Phase, receiver: Member, sender: Member, vcpus: Sequence[x86.VCPU]
) -> Incident:
    """A sleeper that the store to its line has not woken."""
    box = receiver.mailbox
    what = (
        f"lost wake: vCPU {receiver.index} sleeps in MWAIT and vCPU {sender.index} is past its "
        f"store: {box.store.name}, {box.width} bytes at {box.at:#x} ({box.place}), line "
        f"{box.line:#x}, flag at {box.flag:#x}; idle loop: {receiver.idle.name}"
    )
    return Incident(phase, what, tuple(state_of(vcpu) for vcpu in vcpus))
