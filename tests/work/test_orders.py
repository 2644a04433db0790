"""No order of events loses work, or leaves an idle guest exiting for nothing.

It is the real loop and executor, one let in at every point of the other.

A vCPU that only takes notes calls back at every access to it. There the test lets work arrive
while the loop attends, or the loop attend while work arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest

from vmm import Outcome, VCPUExecutor, idle_policy, kvm
from vmm.board import Board
from vmm.clock import VirtualClock
from vmm.loop import Loop
from x86core import VCPU


class NotingVCPU:
    """What the loop touches of a vCPU; each access is a point."""

    def __init__(self, waiting: str) -> None:
        self.__dict__.update(
            at_point=lambda: None,
            index=0,
            waiting=waiting,
            mp_state=kvm.KVM_MP_STATE_HALTED if waiting == "hlt" else kvm.KVM_MP_STATE_RUNNABLE,
            mwait_policy=0,
            hlt_policy=0,
            userspace_exits=0,
            disable_exits=0,
            kicked=False,
        )

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__["at_point"]()
        self.__dict__[name] = value
        self.__dict__["at_point"]()

    def kick(self) -> None:
        self.kicked = True

    def run(self, max_instructions: int = 0) -> int:
        raise AssertionError("the test enters the guest itself")


class Scene:
    """A loop over such a vCPU, and its executor, whose timer does not run."""

    def __init__(self, waiting: str) -> None:
        self.executor = VCPUExecutor()
        self.vcpu = NotingVCPU(waiting)
        self.board = Board(VirtualClock(), cast("VCPU", self.vcpu), lambda data: None)
        self.loop = Loop(
            cast("VCPU", self.vcpu), idle_policy(), self.board, self.executor, self.never
        )
        self.executor.attach(self.loop)
        self.done = 0

    @staticmethod
    def never(outcome: Outcome, explanation: str, exit_code: int | None = None) -> None:
        raise AssertionError(explanation)

    def submit(self) -> None:
        def work() -> None:
            self.done += 1

        self.executor.submit(work)

    def exit(self, reason: int) -> None:
        """What the loop does about an exit."""
        if reason == kvm.KVM_EXIT_MWAIT and not self.loop.attention:
            return
        self.loop._handlers[reason]()

    def next_exit(self) -> int | None:
        """Why the vCPU will leave the guest, which is idle in MWAIT or HLT; None: it sleeps."""
        vcpu = self.vcpu.__dict__
        if vcpu["kicked"]:
            vcpu["kicked"] = False
            return kvm.KVM_EXIT_INTR
        idle = kvm.KVM_EXIT_HLT if vcpu["waiting"] == "hlt" else kvm.KVM_EXIT_MWAIT
        bit = 2 if idle == kvm.KVM_EXIT_HLT else 1
        return idle if vcpu["userspace_exits"] & bit else None

    def settle(self) -> None:
        """Enter the idle guest until it sleeps."""
        for _ in range(10):
            reason = self.next_exit()
            if reason is None:
                return
            self.exit(reason)
        raise AssertionError("it never sleeps again")


def points_of(scene: Scene, action: Callable[[], object]) -> int:
    """How many points an action passes."""
    passed = 0

    def count() -> None:
        nonlocal passed
        passed += 1

    scene.vcpu.__dict__["at_point"] = count
    action()
    scene.vcpu.__dict__["at_point"] = lambda: None
    return passed


def interrupt_at(scene: Scene, point: int, event: Callable[[], object]) -> None:
    """Have the event happen at the point of that number, and at no other."""
    passed = 0

    def step() -> None:
        nonlocal passed
        passed += 1
        if passed == point + 1:
            event()

    scene.vcpu.__dict__["at_point"] = step


REASONS = {
    "mwait": (kvm.KVM_EXIT_MWAIT, kvm.KVM_EXIT_INTR),
    "hlt": (kvm.KVM_EXIT_HLT, kvm.KVM_EXIT_INTR),
    "": (kvm.KVM_EXIT_MWAIT, kvm.KVM_EXIT_INTR),
}
CASES = [(waiting, reason) for waiting, reasons in REASONS.items() for reason in reasons]


@pytest.mark.parametrize(("waiting", "reason"), CASES)
@pytest.mark.parametrize("already", [0, 1])
def test_work_that_arrives_while_the_loop_attends(waiting: str, reason: int, already: int) -> None:
    def prepared() -> Scene:
        scene = Scene(waiting)
        for _ in range(already):
            scene.submit()
        scene.loop.attention = True
        return scene

    scene = prepared()
    count = points_of(scene, lambda: scene.exit(reason))
    assert count >= 8
    for point in range(count):
        scene = prepared()
        interrupt_at(scene, point, scene.submit)
        scene.exit(reason)
        scene.settle()
        assert scene.done == already + 1, f"lost at point {point}"


@pytest.mark.parametrize(("waiting", "reason"), CASES)
def test_a_loop_that_attends_while_work_arrives(waiting: str, reason: int) -> None:
    count = points_of(scene := Scene(waiting), scene.submit)
    assert count >= 4
    for point in range(count):
        scene = Scene(waiting)
        scene.loop.attention = True
        interrupt_at(scene, point, partial(scene.exit, reason))
        scene.submit()
        scene.settle()
        assert scene.done == 1, f"lost at point {point}"


class FlagLastLoop(Loop):
    """The mistake: it lowers its flag behind the look at the queue."""

    def _attend(self, idle: bool) -> None:
        self._work.attend(self, idle)
        self.attention = False
        self._policy.apply(self.vcpu)


def test_the_other_order_loses_work() -> None:
    """So this test can fail."""
    lost = 0
    for point in range(8):
        scene = Scene("")
        scene.loop.__class__ = FlagLastLoop
        scene.loop.attention = True
        interrupt_at(scene, point, scene.submit)
        scene.exit(kvm.KVM_EXIT_MWAIT)
        scene.settle()
        lost += scene.done == 0
    assert lost
