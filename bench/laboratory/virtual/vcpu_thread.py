"""The host thread of a vCPU: into the guest, and what every exit costs.

The guest's code is real, and so is its monitor. A turn in the guest is executed at once when it
begins, for as many instructions as the quantum has ns, or ten quanta when the turn before computed
without an exit, and then its time passes. It ends before each instruction that may wake another
vCPU, so that such a store or interrupt happens in the order of the model's time; other stores may
be seen by other vCPUs as much too early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.virtual.clock import Delay, Process
from bench.laboratory.virtual.scheduler import Host, HostThread
from x86core import (
    EXIT_IDLE,
    EXIT_INTR,
    EXIT_IO,
    EXIT_IO_OUT,
    EXIT_IPI,
    EXIT_LIMIT,
    EXIT_MMIO,
    EXIT_NAMES,
    EXIT_STORE,
    VCPU,
)

if TYPE_CHECKING:
    from bench.laboratory.virtual.machine import GuestMachine

#: A port or address without a device reads as ones.
_NOTHING_THERE: Final = 0xFFFF_FFFF

#: Who has computed for a quantum without an exit is executed ahead by so many.
_COMPUTING: Final = 10

#: Makes the wait of a vCPU in MWAIT, or in HLT, pass.
Wait: TypeAlias = Callable[["VCPUThread"], Process]


class VCPUThread(HostThread):
    """That of one vCPU of a machine. `mwait` and `hlt` are what the two idle instructions are.

    `exits` counts VM exits by the name of their reason, `sleeps` how often the thread has slept for
    its guest, and `turns_passed` the turns of an idle loop that were taken as made.
    """

    __slots__ = (
        "_hlt",
        "_instructions",
        "_mwait",
        "_turned_at",
        "_turned_with",
        "_turning",
        "attention",
        "costs",
        "exits",
        "loop_ns",
        "machine",
        "poll_window_ns",
        "programmed",
        "sleeps",
        "turns_passed",
        "vcpu",
    )

    def __init__(
        self, host: Host, machine: GuestMachine, vcpu: VCPU, quantum_ns: int, mwait: Wait, hlt: Wait
    ) -> None:
        super().__init__(host)
        self.machine = machine
        self.vcpu = vcpu
        self.costs = host.costs
        self.exits: Counter[str] = Counter()
        self.sleeps = self.turns_passed = 0
        self.attention = False
        self.poll_window_ns = 0
        self.programmed: int | None = None
        self.loop_ns = 0
        self._turning = False
        self._turned_at = 0
        self._turned_with: tuple[int, ...] = ()
        self._mwait, self._hlt = mwait, hlt
        self._instructions = max(1, quantum_ns // self.costs.instruction)

    def live(self) -> Process:
        """For ever, or until the guest has ended its machine."""
        machine, vcpu, costs, instructions = self.machine, self.vcpu, self.costs, self._instructions
        clock, host, run = self.clock, self.host, self.vcpu.run
        is_protected = machine.memory.is_protected
        may_wake = False
        # Where stores go unnoticed, its look at the flags may be no more than a quantum early.
        far, furthest = instructions, (1 if machine.sliced else _COMPUTING) * instructions
        while not machine.ended:
            if host.ready and host.is_over(self):
                yield from self.preempted_in_guest()
            if self.attention:
                yield from self.attend()
            now = clock.now
            vcpu.time = now + self.lag_ns
            reason = run(far)
            lag = vcpu.time - now
            ahead, far = far, furthest if reason == EXIT_LIMIT else instructions
            if may_wake:
                may_wake = False
                lag += machine.wake_runnable(self)
            if reason == EXIT_IDLE:
                self.lag_ns = lag
                waiting = vcpu.waiting
                machine.waiting[self] = None
                if waiting == "mwait":
                    yield from self._mwait(self)
                elif waiting == "hlt":
                    yield from self._hlt(self)
                else:
                    yield from self.spend(0)
                    if not vcpu.runnable:
                        yield from self.sleep()
                del machine.waiting[self]
                self.lag_ns += machine.scan(self)
                continue
            if reason == EXIT_INTR:
                self.lag_ns = lag
                continue
            self._turning = False
            self.lag_ns = 0
            if reason == EXIT_STORE:
                # The store is made by the next run, at its very time. It wakes nobody from HLT.
                may_wake = machine.mwaits
                if machine.protects and is_protected(vcpu.mmio_address):
                    lag += costs.write_fault
                yield Delay(clock, lag)
            elif reason == EXIT_IPI:
                may_wake = True
                self.exits["EXIT_IPI"] += 1
                yield Delay(clock, lag + costs.ipi + machine.scan(self))
            elif reason != EXIT_LIMIT:
                yield Delay(clock, lag)
                yield from self._device(reason)
            elif ahead == instructions:
                yield Delay(clock, lag)
            else:
                yield from self._live_through(lag)

    def _live_through(self, nanoseconds: int) -> Process:
        """Let the time of what was executed pass, with what others want of it meanwhile."""
        while nanoseconds > 0:
            yield from self.spend(0)
            began = self.clock.now
            yield from self.hold(began + nanoseconds)
            nanoseconds -= self.clock.now - began
            if self.host.is_over(self):
                yield from self.preempted_in_guest()
            if self.attention:
                yield from self.attend()

    def preempted_in_guest(self) -> Process:
        """Leave the guest and the core, and come back."""
        self.exits["EXIT_PREEMPTED"] += 1
        yield from self.step_aside()
        self.lag_ns += self.costs.exit + self.machine.scan(self)

    def attend(self, *, idle: bool = False) -> Process:
        """Come out for deferred work that waits no more; `idle`: out of HLT, for what there is."""
        self.attention = False
        self.exits["EXIT_INTR"] += 1
        yield from self.spend(self.costs.exit + self.costs.userspace)
        yield from self.machine.work.slice(self, idle=idle)
        self.lag_ns += self.machine.scan(self)

    def begin_turn(self) -> None:
        """An idle loop goes round once more, for no reason that it could see."""
        vcpu = self.vcpu
        self._turning = True
        self._turned_at = vcpu.instructions
        self._turned_with = _registers(vcpu)

    def goes_round(self) -> bool:
        """Whether it has come round in one go and with the same registers: so it will again.

        Then `loop_ns` is how long it takes.
        """
        if not self._turning or self._turned_with != _registers(self.vcpu):
            return False
        self.loop_ns = (self.vcpu.instructions - self._turned_at) * self.costs.instruction
        return True

    def kicked(self) -> None:
        """Somebody wants it to `attend`, on whatever it is."""
        self.attention = True
        self.poke()

    def _device(self, reason: int) -> Process:
        """A port or address: there are no devices but the exit port."""
        vcpu = self.vcpu
        if reason not in (EXIT_IO, EXIT_MMIO):
            raise LaboratoryError(
                f"the guest went wrong: vCPU {vcpu.index} left with {EXIT_NAMES[reason]}"
                f" at {vcpu.cs.selector:04x}:{vcpu.eip:08x}"
            )
        self.exits[EXIT_NAMES[reason]] += 1
        yield from self.spend(self.costs.exit + self.costs.userspace)
        if reason == EXIT_MMIO:
            vcpu.mmio_data = _NOTHING_THERE
        elif vcpu.io_direction != EXIT_IO_OUT:
            vcpu.io_data = _NOTHING_THERE >> (32 - 8 * vcpu.io_size)
        elif vcpu.io_port == self.machine.exit_port:
            self.machine.end(vcpu.io_data)
        self.lag_ns += self.machine.scan(self)


def _registers(vcpu: VCPU) -> tuple[int, ...]:
    return (
        vcpu.eip,
        vcpu.eax,
        vcpu.ecx,
        vcpu.edx,
        vcpu.ebx,
        vcpu.esp,
        vcpu.ebp,
        vcpu.esi,
        vcpu.edi,
        vcpu.eflags,
    )
