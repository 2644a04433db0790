"""The VMM's interrupts: an external controller at LINT0, which is ExtINT after RESET."""

from __future__ import annotations

import select

import pytest

import x86core as x86
from tests.apic.local_apic import (
    APIC_BASE,
    EOI,
    LVT_LINT0,
    LVT_LINT1,
    MASKED,
    PAGE,
    SELF,
    SVR,
    TPR,
    enabled,
    in_service,
    interrupt_taken,
    interrupts_taken,
    requested,
    send,
    write,
    wrmsr,
)
from tests.support import CODE, Event, delivered, flat32, run

EXTINT, FIXED, NMI_MODE = 0x700, 0, 0x400


@pytest.mark.parametrize("software", ["enabled", "disabled"])
@pytest.mark.parametrize("vector", [0x08, 0x20, 0xFF])
def test_it_passes_by_the_apic(software: str, vector: int) -> None:
    """Neither IRR nor ISR knows it, no EOI is due, and its vector may be any."""
    vcpu = flat32("hlt")
    if software == "enabled":
        vcpu = enabled()
    vcpu.interrupt(vector)
    assert requested(vcpu) == set()
    assert interrupt_taken(vcpu) == vector
    assert in_service(vcpu) == set()


def test_no_priority_holds_it_back() -> None:
    vcpu = enabled()
    send(vcpu, SELF | 0xF1)
    assert interrupt_taken(vcpu) == 0xF1
    write(vcpu, TPR, 0xFF)
    vcpu.interrupt(0x20)
    assert interrupt_taken(vcpu) == 0x20
    assert in_service(vcpu) == {0xF1}


def test_beside_the_apics_own_both_are_taken() -> None:
    vcpu = enabled()
    send(vcpu, SELF | 0x80)
    vcpu.interrupt(0x20)
    assert sorted(interrupts_taken(vcpu, end=False)) == [0x20, 0x80]
    assert in_service(vcpu) == {0x80}


def test_the_same_vector_from_both_is_two_interrupts() -> None:
    vcpu = enabled()
    send(vcpu, SELF | 0x41)
    vcpu.interrupt(0x41)
    assert interrupts_taken(vcpu, end=False) == [0x41, 0x41]
    assert in_service(vcpu) == {0x41}


@pytest.mark.parametrize("entry", [MASKED | EXTINT, FIXED | 0x45, NMI_MODE])
def test_where_lint0_does_not_let_it_in(entry: int) -> None:
    """Masked, or not ExtINT: it waits, and wakes nobody."""
    vcpu = enabled("sti; hlt")
    write(vcpu, LVT_LINT0, entry)
    assert run(vcpu) == "EXIT_HLT"
    vcpu.interrupt(0x20)
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 0
    write(vcpu, LVT_LINT0, EXTINT)
    assert interrupt_taken(vcpu) == 0x20


def test_unmasking_lint0_lets_it_in_at_once() -> None:
    vcpu = enabled("sti; mov [edi], eax; again: jmp again")
    write(vcpu, LVT_LINT0, MASKED | EXTINT)
    vcpu.interrupt(0x20)
    vcpu.edi, vcpu.eax = PAGE + LVT_LINT0, EXTINT
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x20, CODE + 3)


def test_disabling_the_apic_by_software_masks_lint0() -> None:
    vcpu = enabled()
    write(vcpu, SVR, 0xFF)
    vcpu.interrupt(0x20)
    assert interrupt_taken(vcpu) is None


def test_without_an_apic_it_reaches_the_processor_directly() -> None:
    vcpu = enabled()
    write(vcpu, LVT_LINT0, MASKED)
    wrmsr(vcpu, APIC_BASE, PAGE)
    vcpu.interrupt(0x20)
    assert interrupt_taken(vcpu) == 0x20


def test_lint1_has_no_say() -> None:
    vcpu = enabled()
    write(vcpu, LVT_LINT1, MASKED | NMI_MODE)
    vcpu.interrupt(0x20)
    assert interrupt_taken(vcpu) == 0x20


def test_nmi_from_the_vmm_is_not_masked_by_the_apic() -> None:
    """As KVM_NMI: for whom the VMM wants to reach, whatever LINT1 says."""
    vcpu = enabled()
    write(vcpu, TPR, 0xFF)
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(2, CODE)


def test_an_eoi_in_its_handler_ends_another() -> None:
    """Why the handler of an ExtINT must not write EOI."""
    vcpu = enabled()
    send(vcpu, SELF | 0x50)
    assert interrupt_taken(vcpu) == 0x50
    vcpu.interrupt(0x20)
    assert interrupt_taken(vcpu) == 0x20
    write(vcpu, EOI, 0)
    assert in_service(vcpu) == set()


def test_the_window_opens_behind_the_apics_interrupts() -> None:
    vcpu = enabled("sti; nop; nop; hlt")
    vcpu.memory.write(0x3041, b"\xc7\x05\xb0\x00\xe0\xfe\0\0\0\0\xcf")  # EOI; IRET
    send(vcpu, SELF | 0x41)
    vcpu.request_interrupt_window = 1
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.stats["irq_injections"] == 1
    assert vcpu.eip == CODE + 2
