"""What the loop makes of exits that no guest brings about here; the rest is in test_machine."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from vmm import Outcome, WorkQueue, idle_policy, kvm
from vmm.board import Board
from vmm.clock import VirtualClock
from vmm.exits import location
from vmm.loop import Loop
from x86core import VCPU, Memory


class ForcedExits:
    """A vCPU that gives the exits it is told to, and then the instruction limit."""

    def __init__(self, *reasons: int) -> None:
        self._real = VCPU(Memory(64 << 10))
        self._reasons = list(reasons)
        self.exit_reason = 0
        self.internal_error = 0

    def run(self, max_instructions: int = 0) -> int:
        self.exit_reason = self._reasons.pop(0) if self._reasons else kvm.KVM_EXIT_LIMIT
        return self.exit_reason

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Ended(list[tuple[Outcome, str, int | None]]):
    """Collects why the machine was ended, and stops the loop."""

    loop: Loop

    def __call__(self, outcome: Outcome, explanation: str, exit_code: int | None = None) -> None:
        self.append((outcome, explanation, exit_code))
        self.loop.stop()


def loop_over(vcpu: Any) -> tuple[Loop, Ended]:
    ended = Ended()
    board = Board(VirtualClock(), cast("VCPU", vcpu), len)
    ended.loop = Loop(cast("VCPU", vcpu), idle_policy(), board, WorkQueue(), ended)
    return ended.loop, ended


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (kvm.KVM_EXIT_DEBUG, "EXIT_DEBUG"),
        (99, "99"),
        # Only the devices of a PC ask for these two.
        (kvm.KVM_EXIT_IRQ_WINDOW_OPEN, "EXIT_IRQ_WINDOW_OPEN"),
        (kvm.KVM_EXIT_IOAPIC_EOI, "EXIT_IOAPIC_EOI"),
    ],
)
def test_an_exit_that_it_does_not_know_is_counted_and_reported(reason: int, name: str) -> None:
    loop, ended = loop_over(ForcedExits(reason))
    loop.run()
    assert loop.exits == {reason: 1}
    ((outcome, explanation, _),) = ended
    assert outcome is Outcome.INTERNAL_ERROR
    assert f"gave exit {name}, which this VMM does not handle" in explanation


def test_an_internal_error_other_than_a_failed_fetch() -> None:
    vcpu = ForcedExits(kvm.KVM_EXIT_INTERNAL_ERROR)
    vcpu.internal_error = 3
    loop, ended = loop_over(vcpu)
    loop.run()
    assert "internal error 3" in ended[0][1]


def test_every_exit_is_counted() -> None:
    loop, _ = loop_over(ForcedExits(*[kvm.KVM_EXIT_MWAIT] * 5, kvm.KVM_EXIT_INTR))
    loop.run()
    assert loop.exits == {kvm.KVM_EXIT_MWAIT: 5, kvm.KVM_EXIT_INTR: 1, kvm.KVM_EXIT_LIMIT: 1}


def test_stop_before_run() -> None:
    loop, _ = loop_over(VCPU(Memory(64 << 10)))
    loop.stop()
    loop.run()
    assert not loop.exits


def test_stop_from_another_thread() -> None:
    vcpu = VCPU(memory := Memory(64 << 10))
    memory.write(0x7C00, b"\xeb\xfe")  # JMP to itself
    vcpu.start_real_mode()
    loop, _ = loop_over(vcpu)
    thread = threading.Thread(target=loop.run)
    thread.start()
    loop.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_the_limit_counts_over_all_entries() -> None:
    """Exits in between do not start the count anew."""
    vcpu = VCPU(memory := Memory(64 << 10))
    memory.write(0x7C00, b"\xe6\x80\xeb\xfc")  # OUT to a port without a device, JMP back
    vcpu.start_real_mode()
    loop, ended = loop_over(vcpu)
    loop.run(max_instructions=1001)
    assert vcpu.instructions == 1001
    assert ended[0][0] is Outcome.INSTRUCTION_LIMIT


def test_location() -> None:
    vcpu = VCPU(Memory(64 << 10))
    vcpu.start_real_mode(cs=0x12, ip=0x345)
    assert location(vcpu) == "0012:0345"
    vcpu.start_flat32(eip=0x12345)
    assert location(vcpu) == f"{vcpu.cs.selector:04X}:00012345"
