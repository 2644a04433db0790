"""Holding and releasing the vCPUs of a machine, and why they stopped.

Each vCPU's loop enters the guest through its gate. All of them stop together: when one does for a
reason of its own the others are held as well, by a kick where they are in the guest. Only while all
are held may their state be used.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import NamedTuple, Self

from vmm import kvm
from vmm.gdb import memory
from vmm.gdb.points import Points
from vmm.gdb.registers import linear_pc
from x86core import VCPU

#: Signal numbers of the remote protocol.
SIGINT, SIGTRAP, SIGSEGV = 2, 5, 11

#: Exits that end the machine. A debugger is shown the vCPU first.
_FATAL = (kvm.KVM_EXIT_SHUTDOWN, kvm.KVM_EXIT_INTERNAL_ERROR)

_HLT = b"\xf4"


class Action(Enum):
    """What a vCPU is to do."""

    HOLD = auto()
    CONTINUE = auto()
    STEP = auto()


class Stop(NamedTuple):
    """Why a vCPU stopped. `cause` is the stop reason of packet T ("swbreak"), "" for none."""

    vcpu: int
    signal: int
    cause: str = ""
    address: int = 0


class Gate:
    """What a vCPU's loop runs in place of `VCPU.run`."""

    def __init__(self, debugger: Debugger, vcpu: VCPU, enter: Callable[..., int]) -> None:
        self.vcpu = vcpu
        self.action = Action.HOLD
        self.held = False
        self._debugger = debugger
        self._enter = enter
        self._begun = 0  # instructions retired when the step began

    def run(self, max_instructions: int = 0) -> int:
        """As `VCPU.run`, once the debugger lets it."""
        while True:
            if not self._pass():
                return kvm.KVM_EXIT_INTR  # the machine has ended
            reason = self._enter(max_instructions)
            if reason == kvm.KVM_EXIT_DEBUG:
                self._stopped(*self.vcpu.debug_exit)
            elif reason in _FATAL and self._debugger.attached:
                self._debugger.stop(self, Stop(self.vcpu.index, SIGSEGV))
                self._pass()
                return reason
            else:
                return reason

    def begin(self, action: Action) -> None:
        """Take the next order. Under the debugger's lock, while held."""
        self.action = action
        self._begun = self.vcpu.instructions

    def _pass(self) -> bool:
        """Wait while the vCPU is held; False when the machine has ended."""
        while self._debugger.wait(self):
            if self.action is not Action.STEP:
                self.vcpu.single_step = False
                return True
            if self.vcpu.instructions == self._begun:
                self._prepare_step()
                return True
            # The instruction was finished by an exit that the loop has dealt with.
            self._debugger.stop(self, Stop(self.vcpu.index, SIGTRAP))
        self.vcpu.single_step = False
        return False

    def _prepare_step(self) -> None:
        """Interrupts would make every step one into a handler; but HLT waits for one."""
        vcpu = self.vcpu
        vcpu.single_step = True
        vcpu.block_interrupts = (
            memory.read(vcpu, linear_pc(vcpu), 1) != _HLT
            and vcpu.mp_state == kvm.KVM_MP_STATE_RUNNABLE
        )

    def _stopped(self, cause: str, address: int) -> None:
        if cause == "step":
            self._debugger.stop(self, Stop(self.vcpu.index, SIGTRAP))
            return
        name = self._debugger.points.reason(cause, address)
        if name:
            self._debugger.stop(self, Stop(self.vcpu.index, SIGTRAP, name, address))


class Debugger:
    """The vCPUs of one machine under a debugger's control, held until it lets them go.

    Give it to `Machine`, and then to a `Server`.
    """

    def __init__(self) -> None:
        self.gates: list[Gate] = []
        self.points = Points()
        self.attached = False
        self.ended = False
        #: Called, from any thread, when a vCPU has stopped, or the machine has ended.
        self.notify: Callable[[], object] = lambda: None
        #: Ends the machine.
        self.kill: Callable[[], object] = lambda: None
        self._changed = threading.Condition()
        self._stops: deque[Stop] = deque()

    # For the machine.

    def gate(self, vcpu: VCPU, enter: Callable[..., int]) -> Gate:
        """What a vCPU's loop is to run: `enter` is what it would run without a debugger."""
        gate = Gate(self, vcpu, enter)
        self.gates.append(gate)
        return gate

    @property
    def holds(self) -> bool:
        """Whether some vCPU is held: then nothing that it does not do means anything."""
        return any(gate.action is Action.HOLD for gate in self.gates)

    @property
    def stopping(self) -> bool:
        """Whether every vCPU is held, or about to be."""
        return all(gate.action is Action.HOLD for gate in self.gates)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """The machine has ended: let go of every vCPU for good. From any thread."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        self.notify()

    # For gates.

    def wait(self, gate: Gate) -> bool:
        """Wait until a vCPU may run; False when the machine has ended."""
        with self._changed:
            gate.held = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.ended or gate.action is not Action.HOLD)
            gate.held = False
            return not self.ended

    def stop(self, gate: Gate, stop: Stop) -> None:
        """A vCPU has stopped by itself: hold it and all others."""
        with self._changed:
            if not self.attached:
                return  # nobody wants to know
            self._stops.append(stop)
            self._hold(but=gate)
        self.notify()

    # For the server.

    @property
    def vcpus(self) -> list[VCPU]:
        """By index."""
        return [gate.vcpu for gate in self.gates]

    def attach(self) -> None:
        """A debugger is there: hold all vCPUs."""
        with self._changed:
            self.attached = True
            self._stops.clear()
            self._hold()
        self.wait_until_held()

    def detach(self, release: bool) -> None:
        """The debugger is gone: nothing is inserted any more; `release` lets held vCPUs go on."""
        with self._changed:
            self.attached = False
            self._stops.clear()
            self.points.clear(self.vcpus)
            if release:
                for gate in self.gates:
                    gate.begin(Action.CONTINUE)
                self._changed.notify_all()

    def interrupt(self) -> None:
        """Hold all vCPUs."""
        with self._changed:
            self._hold()
        self.notify()

    def wait_until_held(self) -> bool:
        """Wait until every vCPU is out of the guest; False when the machine has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or all(gate.held for gate in self.gates))
            return not self.ended

    def take_stop(self) -> Stop | None:
        """The next stop to be reported, if there is one. All vCPUs are held."""
        with self._changed:
            return self._stops.popleft() if self._stops else None

    def resume(self, actions: Mapping[int, Action]) -> None:
        """Let vCPUs go, by index; the others stay held.

        One that met a watchpoint, or has failed, but was not reported yet is reported now, and none
        goes. What met a breakpoint will meet it again if it is still there, and a finished step is
        of no interest any more.
        """
        with self._changed:
            kept: deque[Stop] = deque()
            due = False
            for stop in self._stops:
                vcpu, goes = self.gates[stop.vcpu].vcpu, actions[stop.vcpu] is not Action.HOLD
                if stop.cause in ("swbreak", "hwbreak"):
                    vcpu.eip = vcpu.eip  # so that it is not passed
                elif (
                    stop.signal != SIGTRAP
                    or self.points.watches(stop.cause, stop.address)
                    or not goes
                ):
                    due = due or goes
                    kept.insert(0 if goes else len(kept), stop)
            self._stops = kept
            if not due:
                for gate in self.gates:
                    gate.begin(actions[gate.vcpu.index])
                self._changed.notify_all()
        if due:
            self.notify()

    def _hold(self, but: Gate | None = None) -> None:
        """`but` is out of the guest already."""
        for gate in self.gates:
            gate.action = Action.HOLD
            if not gate.held and gate is not but:
                gate.vcpu.kick()
