"""HLT: blocked in the core, or an exit to userspace with mp_state HALTED."""

from __future__ import annotations

import select

import pytest

import x86core as x86
from tests.support import CODE, Event, Running, delivered, flat32, run


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_exit_to_userspace() -> None:
    vcpu = flat32("nop; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert vcpu.exit_reason == x86.EXIT_HLT
    assert vcpu.eip == CODE + 2
    assert vcpu.stats["halt_exits"] == 1


def test_running_again_with_the_bit_set_and_nothing_pending_exits_again() -> None:
    vcpu = flat32("hlt; inc eax; hlt")
    vcpu.eax = 0
    for _ in range(3):
        assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.eip, vcpu.instructions) == (0, CODE + 1, 1)


def test_running_again_without_the_bit_blocks_until_an_interrupt() -> None:
    vcpu = flat32("sti; hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT  # the handler's HLT is to exit
        vcpu.interrupt(0x40)
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE + 2)


def test_an_interrupt_that_is_masked_does_not_end_hlt() -> None:
    vcpu = flat32("hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.interrupt(0x40)
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 1


def test_a_masked_interrupt_does_not_end_a_hlt_that_blocks() -> None:
    """Whoever halts with interrupts off waits for an NMI."""
    vcpu = flat32("hlt")
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(0x40)
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
        vcpu.nmi()
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu) == Event(2, CODE + 1)


@pytest.mark.parametrize("nmi", [False, True])
def test_wake_fd_tells_that_a_halted_vcpu_is_runnable(nmi: bool) -> None:
    vcpu = flat32("sti; hlt")
    assert readable(vcpu.wake_fd)
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu.wake_fd)
    if nmi:
        vcpu.nmi()
    else:
        vcpu.interrupt(0x40)
    assert readable(vcpu.wake_fd)
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(2 if nmi else 0x40, CODE + 2)
    assert not readable(vcpu.wake_fd), "the wake was consumed by the run"


def test_wake_fd_stays_quiet_for_a_masked_interrupt() -> None:
    vcpu = flat32("hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.interrupt(0x40)
    assert not readable(vcpu.wake_fd)


def test_an_interrupt_pending_before_hlt_is_not_lost() -> None:
    """STI; HLT: the shadow of STI lets HLT begin, and the pending interrupt ends it."""
    vcpu = flat32("sti; hlt")
    vcpu.userspace_exits = 0
    vcpu.interrupt(0x40)
    with Running(vcpu) as running:
        running.asleep("hlt")  # that is the handler's HLT, interrupts off
    assert delivered(vcpu) == Event(0x40, CODE + 2)


def test_waiting_says_where_the_vcpu_sleeps() -> None:
    vcpu = flat32("hlt")
    assert vcpu.waiting == ""
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
    assert vcpu.waiting == ""


def test_bit_set_by_another_thread_is_seen_at_the_next_hlt() -> None:
    """The switch is read at every idle instruction, not once for a run()."""
    vcpu = flat32("again: sti; hlt; jmp again")
    vcpu.memory.write(0x3040, b"\xcf")  # the handler of 40h is IRET
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
        vcpu.interrupt(0x40)
        assert running.exit() == "EXIT_HLT"
    assert vcpu.eip == CODE + 2
