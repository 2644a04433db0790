"""Interrupts as the VMM injects them: interrupt(), nmi() and the interrupt window."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    FLAG_IF,
    NMI,
    Event,
    Running,
    delivered,
    flat32,
    gate,
    run,
    set_gate,
    word32,
)


@pytest.mark.parametrize("vector", [-1, 256, 1 << 40])
def test_vector_out_of_range(vector: int) -> None:
    vcpu = flat32("hlt")
    with pytest.raises(ValueError, match="255"):
        vcpu.interrupt(vector)


@pytest.mark.parametrize("vector", [0x20, 0x7F, 0xFF])
def test_interrupt_is_delivered_before_the_next_instruction(vector: int) -> None:
    vcpu = flat32("nop; hlt")
    vcpu.eflags |= FLAG_IF
    vcpu.interrupt(vector)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, CODE)
    assert vcpu.stats["irq_injections"] == 1


def test_masked_interrupt_stays_pending() -> None:
    vcpu = flat32("nop; nop; sti; nop; nop; hlt")
    vcpu.interrupt(0x20)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x20, CODE + 4)


def test_interrupt_comes_once() -> None:
    vcpu = flat32("nop; hlt")
    vcpu.memory.write(0x3020, b"\xcf")
    vcpu.eflags |= FLAG_IF
    vcpu.interrupt(0x20)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 2
    assert vcpu.stats["irq_injections"] == 1


def test_different_vectors_all_arrive() -> None:
    vcpu = flat32("sti; again: jmp again")
    for vector in (0x21, 0x30, 0x20):
        vcpu.interrupt(vector)
    seen = []
    for _ in range(3):
        assert run(vcpu) == "EXIT_HLT"
        seen.append(delivered(vcpu).vector)
        vcpu.eflags |= FLAG_IF
        vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert sorted(seen) == [0x20, 0x21, 0x30]


def test_interrupt_reaches_a_guest_that_runs() -> None:
    vcpu = flat32("sti; again: jmp again")
    with Running(vcpu) as running:
        vcpu.interrupt(0x20)
        assert running.exit() == "EXIT_HLT"
    assert delivered(vcpu).vector == 0x20


def test_nmi_ignores_the_interrupt_flag() -> None:
    vcpu = flat32("nop; hlt")
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(2, CODE)
    assert vcpu.stats["nmi_injections"] == 1


def test_nmi_is_held_off_until_iret() -> None:
    """SDM vol. 3, 7.7.1: a second NMI waits for the first one's IRET."""
    vcpu = flat32("again: jmp again; handler: inc ebx; cmp ebx, 2; je out; nop; iret; out: hlt")
    set_gate(vcpu.memory, NMI, gate(CODE + 2))
    vcpu.ebx = 0
    vcpu.nmi()
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 2
    assert word32(vcpu.memory, vcpu.esp) == CODE, "the second came after IRET, not inside"


def test_nmi_goes_before_an_interrupt() -> None:
    vcpu = flat32("nop")
    vcpu.eflags |= FLAG_IF
    vcpu.interrupt(0x20)
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(2, CODE)


def test_interrupt_window_opens_when_interrupts_do() -> None:
    """After STI's shadow, before the next instruction; and at once when they are on already."""
    vcpu = flat32("nop; sti; nop; nop; hlt")
    vcpu.request_interrupt_window = 1
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.eip == CODE + 3
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.eip == CODE + 3
    vcpu.request_interrupt_window = 0
    assert run(vcpu) == "EXIT_HLT"
