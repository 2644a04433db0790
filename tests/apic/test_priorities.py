"""Which interrupt is taken, and when: TPR, PPR, IRR, ISR and EOI (SDM vol. 3, 11.8.3, 11.8.4)."""

from __future__ import annotations

import select

import pytest

import x86core as x86
from tests.apic.local_apic import (
    ENABLED,
    EOI,
    ESR,
    ISR,
    PAGE,
    PPR,
    SELF,
    SVR,
    TPR,
    enabled,
    in_service,
    interrupt_taken,
    interrupts_taken,
    read,
    requested,
    send,
    shown,
    write,
)
from tests.support import CODE, DATA, Event, delivered, gate, run, set_gate


def request(vcpu: x86.VCPU, *vectors: int) -> None:
    """The vCPU sends itself interrupts."""
    for vector in vectors:
        send(vcpu, SELF | vector)


@pytest.mark.parametrize("vector", [0x10, 0x1F, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xC1, 0xFF])
def test_request_service_end(vector: int) -> None:
    vcpu = enabled()
    request(vcpu, vector)
    assert (requested(vcpu), in_service(vcpu)) == ({vector}, set())
    assert interrupt_taken(vcpu) == vector
    assert delivered(vcpu) == Event(vector, CODE)
    assert (requested(vcpu), in_service(vcpu)) == (set(), {vector})
    write(vcpu, EOI, 0)
    assert in_service(vcpu) == set()
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF])
def test_any_value_written_to_eoi_ends_the_highest_in_service(value: int) -> None:
    vcpu = enabled()
    for vector in (0x31, 0x42, 0x91):
        request(vcpu, vector)
        assert interrupt_taken(vcpu) == vector
    for left in ({0x31, 0x42}, {0x31}, set(), set()):
        write(vcpu, EOI, value)
        assert in_service(vcpu) == left


def test_guest_and_host_see_the_same() -> None:
    vcpu = enabled()
    request(vcpu, 0x31, 0x52)
    assert interrupt_taken(vcpu) == 0x52
    request(vcpu, 0xF3)
    for offset in (TPR, PPR, *range(ISR, ESR, 0x10)):
        assert read(vcpu, offset) == shown(vcpu, offset), hex(offset)
    assert read(vcpu, PPR) == 0x50


def test_masked_by_the_flag_it_stays_requested() -> None:
    vcpu = enabled("nop; nop; hlt")
    request(vcpu, 0x41)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, requested(vcpu)) == (CODE + 3, {0x41})


def test_the_highest_goes_first() -> None:
    vcpu = enabled()
    request(vcpu, 0x51, 0x31, 0xF0, 0x52, 0x30, 0x9F)
    assert interrupts_taken(vcpu) == [0xF0, 0x9F, 0x52, 0x51, 0x31, 0x30]


@pytest.mark.parametrize(
    ("second", "nests"),
    [(0x40, False), (0x51, False), (0x5F, False), (0x60, True), (0xFF, True)],
)
def test_only_a_higher_class_interrupts_a_handler(second: int, nests: bool) -> None:
    """The class is the vector's high digit; the low one only orders what waits."""
    vcpu = enabled()
    request(vcpu, 0x50)
    assert interrupt_taken(vcpu) == 0x50
    request(vcpu, second)
    assert interrupt_taken(vcpu) == (second if nests else None)
    write(vcpu, EOI, 0)
    assert interrupt_taken(vcpu) == (None if nests else second)


def test_a_vector_is_kept_once_requested_and_once_in_service() -> None:
    vcpu = enabled()
    request(vcpu, 0x41, 0x41)
    assert interrupt_taken(vcpu) == 0x41
    request(vcpu, 0x41, 0x41)
    assert (requested(vcpu), in_service(vcpu)) == ({0x41}, {0x41})
    assert interrupt_taken(vcpu) is None
    write(vcpu, EOI, 0)
    assert interrupts_taken(vcpu) == [0x41]


# Task priority.


@pytest.mark.parametrize(
    ("tpr", "vector", "taken"),
    [
        (0x00, 0x10, True),
        (0x0F, 0x10, True),
        (0x10, 0x1F, False),
        (0x40, 0x40, False),
        (0x40, 0x4F, False),
        (0x4F, 0x50, True),
        (0x40, 0x3F, False),
        (0xEF, 0xF0, True),
        (0xF0, 0xFF, False),
        (0xFF, 0xFF, False),
    ],
)
def test_task_priority_masks_its_class_and_those_below(tpr: int, vector: int, taken: bool) -> None:
    vcpu = enabled()
    write(vcpu, TPR, tpr)
    request(vcpu, vector)
    assert interrupt_taken(vcpu) == (vector if taken else None)
    if not taken:
        assert requested(vcpu) == {vector}
        write(vcpu, TPR, 0)
        assert interrupt_taken(vcpu) == vector


@pytest.mark.parametrize(
    ("tpr", "service", "priorities"),
    [
        (0x00, 0x00, {0x00}),
        (0x35, 0x00, {0x35}),
        (0x35, 0x47, {0x40}),
        (0x00, 0x1F, {0x10}),
        (0x52, 0x47, {0x52}),
        (0x42, 0x47, {0x40, 0x42}),  # model-specific
        (0xFF, 0xE1, {0xFF}),
    ],
)
def test_processor_priority(tpr: int, service: int, priorities: set[int]) -> None:
    vcpu = enabled()
    if service:
        request(vcpu, service)
        assert interrupt_taken(vcpu) == service
    write(vcpu, TPR, tpr)
    assert read(vcpu, PPR) in priorities


def test_lowering_the_task_priority_lets_the_interrupt_in() -> None:
    vcpu = enabled("mov [edi], eax; spin: jmp spin")
    write(vcpu, TPR, 0x80)
    request(vcpu, 0x71)
    vcpu.edi, vcpu.eax = PAGE + TPR, 0x60
    assert interrupt_taken(vcpu) == 0x71
    assert delivered(vcpu).eip >= CODE + 2


def test_ending_an_interrupt_lets_the_next_of_its_class_in() -> None:
    vcpu = enabled("sti; mov [edi], eax; spin: jmp spin")
    request(vcpu, 0x50)
    assert interrupt_taken(vcpu) == 0x50
    request(vcpu, 0x55)
    vcpu.eip, vcpu.edi, vcpu.mp_state = CODE, PAGE + EOI, x86.MP_STATE_RUNNABLE
    assert interrupt_taken(vcpu) == 0x55
    assert in_service(vcpu) == {0x55}


def test_handlers_nest_and_unwind(memory: x86.Memory) -> None:
    """Handlers that allow interrupts, as operating systems' do: 80h interrupts 40h, 41h waits."""
    vcpu = enabled(
        f"""
        mov edi, {PAGE}
        mov ebx, {DATA}
        sti
        mov dword ptr [edi + 0x300], {SELF | 0x40:#x}
    wait:
        cmp byte ptr [{DATA} + 3], 0
        je wait
        cli
        hlt
    .org 0x100
        mov byte ptr [ebx], 0x40
        inc ebx
        mov dword ptr [edi + 0x300], {SELF | 0x41:#x}
        mov dword ptr [edi + 0x300], {SELF | 0x80:#x}
        sti
        nop
        jmp behind
    behind:
        mov byte ptr [ebx], 0x40
        jmp end
    .org 0x180
        mov byte ptr [ebx], 0x41
        jmp end
    .org 0x200
        mov byte ptr [ebx], 0x80
    end:
        inc ebx
        cli
        mov dword ptr [edi + 0xB0], 0
        iret
        """,
        memory=memory,
    )
    for vector, offset in ((0x40, 0x100), (0x41, 0x180), (0x80, 0x200)):
        set_gate(memory, vector, gate(CODE + offset))
    assert run(vcpu) == "EXIT_HLT"
    assert memory.read(DATA, 4) == b"\x40\x80\x40\x41"
    assert (requested(vcpu), in_service(vcpu)) == (set(), set())


def test_what_the_priority_holds_back_wakes_nobody() -> None:
    """A halted processor whose TPR masks the interrupt is not said to be runnable."""
    vcpu = enabled("sti; hlt")
    write(vcpu, TPR, 0x80)
    assert run(vcpu) == "EXIT_HLT"
    request(vcpu, 0x71)
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]
    assert run(vcpu) == "EXIT_HLT"
    request(vcpu, 0x91)
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert select.select([vcpu.wake_fd], [], [], 0)[0]


# Disabled by software: what is pending is held.


def test_disabling_holds_what_is_requested() -> None:
    vcpu = enabled()
    request(vcpu, 0x41)
    write(vcpu, SVR, 0xFF)
    assert requested(vcpu) == {0x41}
    write(vcpu, SVR, ENABLED | 0xFF)
    assert interrupt_taken(vcpu) == 0x41


def test_while_disabled_it_accepts_no_interrupt() -> None:
    vcpu = enabled()
    write(vcpu, SVR, 0xFF)
    request(vcpu, 0x41)
    assert requested(vcpu) == set()
    write(vcpu, SVR, ENABLED | 0xFF)
    assert interrupt_taken(vcpu) is None
