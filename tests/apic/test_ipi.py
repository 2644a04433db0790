"""Interprocessor interrupts: whom the interrupt command register reaches, and with what."""

from __future__ import annotations

import select

import pytest

import x86core as x86
from tests.apic.local_apic import (
    ALL,
    APIC_BASE,
    ASSERT,
    DFR,
    FIXED,
    ICR_HIGH,
    ICR_LOW,
    ID,
    LDR,
    LEVEL,
    LOGICAL,
    LOWEST_PRIORITY,
    NMI_MODE,
    OTHERS,
    SELF,
    SVR,
    TMR,
    TPR,
    enabled,
    interrupt_taken,
    read,
    requested,
    send,
    several,
    vectors,
    write,
    wrmsr,
)
from tests.support import (
    NMI,
    Event,
    Running,
    code_address,
    delivered,
    flat32,
    gate,
    run,
    set_gate,
)

VECTOR = 0x51
#: An IDT for the second vCPU.
OTHER_IDT = 0x5000


def reached(vcpus: list[x86.VCPU]) -> list[int]:
    """The numbers of those that VECTOR was requested of; whatever else was is a failure."""
    assert all(requested(vcpu) in (set(), {VECTOR}) for vcpu in vcpus)
    return [vcpu.index for vcpu in vcpus if requested(vcpu)]


@pytest.mark.parametrize(
    ("shorthand", "expected"), [(SELF, [1]), (ALL, [0, 1, 2]), (OTHERS, [0, 2])]
)
@pytest.mark.parametrize("mode", [0, LOGICAL])
def test_shorthands(memory: x86.Memory, shorthand: int, expected: list[int], mode: int) -> None:
    """They need no destination, in neither destination mode."""
    vcpus = several(3, memory)
    send(vcpus[1], shorthand | mode | VECTOR, destination=0)
    assert reached(vcpus) == expected


@pytest.mark.parametrize(
    ("destination", "expected"), [(0, [0]), (1, [1]), (2, [2]), (7, []), (0xFF, [0, 1, 2])]
)
def test_physical_destination(memory: x86.Memory, destination: int, expected: list[int]) -> None:
    """FFh is everybody, the sender too."""
    vcpus = several(3, memory)
    send(vcpus[1], VECTOR, destination=destination)
    assert reached(vcpus) == expected


@pytest.mark.parametrize(
    ("destination", "expected"),
    [(0b001, [0]), (0b010, [1]), (0b110, [1, 2]), (0b1000, []), (0, []), (0xFF, [0, 1, 2])],
)
def test_logical_destination_flat(
    memory: x86.Memory, destination: int, expected: list[int]
) -> None:
    """A bit each: any in common will do."""
    vcpus = several(3, memory)
    for vcpu in vcpus:
        write(vcpu, LDR, 1 << 24 + vcpu.index)
    send(vcpus[0], LOGICAL | VECTOR, destination=destination)
    assert reached(vcpus) == expected


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (0x11, [0]),
        (0x12, [1]),
        (0x13, [0, 1]),
        (0x1F, [0, 1]),
        (0x21, [2]),
        (0x22, []),
        (0x10, []),
        (0x31, []),
        (0xFF, [0, 1, 2, 3]),
    ],
)
def test_logical_destination_cluster(
    memory: x86.Memory, destination: int, expected: list[int]
) -> None:
    """The cluster in the high digit must be the same; in the low one any common bit will do."""
    vcpus = several(4, memory)
    for vcpu, name in zip(vcpus, (0x11, 0x12, 0x21, 0x48), strict=True):
        write(vcpu, DFR, 0x0FFFFFFF)
        write(vcpu, LDR, name << 24)
    send(vcpus[3], LOGICAL | VECTOR, destination=destination)
    assert reached(vcpus) == expected


def test_before_it_is_named_nobody_is_a_logical_destination(memory: x86.Memory) -> None:
    """LDR is 0 after RESET."""
    vcpus = several(2, memory)
    send(vcpus[0], LOGICAL | VECTOR, destination=0x7F)
    assert reached(vcpus) == []


def test_the_vcpu_with_the_lowest_priority_is_chosen(memory: x86.Memory) -> None:
    vcpus = several(4, memory)
    for vcpu, priority in zip(vcpus, (0x40, 0x30, 0x10, 0x20), strict=True):
        write(vcpu, TPR, priority)
        write(vcpu, LDR, 1 << 24 + vcpu.index)
    send(vcpus[0], LOGICAL | LOWEST_PRIORITY | VECTOR, destination=0b1011)
    assert reached(vcpus) == [3], "the lowest of those that are addressed"
    assert interrupt_taken(vcpus[3]) == VECTOR


def test_lowest_priority_passes_over_who_is_disabled(memory: x86.Memory) -> None:
    vcpus = several(3, memory)
    for vcpu, priority in zip(vcpus, (0x40, 0x30, 0x10), strict=True):
        write(vcpu, TPR, priority)
    write(vcpus[2], SVR, 0xFF)
    send(vcpus[0], LOWEST_PRIORITY | VECTOR, destination=0xFF)
    assert reached(vcpus) == [1]


def test_a_vcpu_beyond_8_bits_is_reached_by_broadcasts_only() -> None:
    memory = x86.Memory(4 << 20)
    vcpus = [enabled(memory=memory, index=index) for index in (0, 1, 257)]
    assert read(vcpus[2], ID) == 1 << 24, "the low 8 bits"
    send(vcpus[0], VECTOR, destination=1)
    assert reached(vcpus) == [1]
    send(vcpus[0], OTHERS | VECTOR)
    assert reached(vcpus) == [1, 257]


# What arrives.


def test_the_icr_reads_back_what_was_sent_and_that_it_has_gone(memory: x86.Memory) -> None:
    """Delivery status, bit 12, is 0: idle."""
    sender, _ = several(2, memory)
    send(sender, ASSERT | 0x1000 | VECTOR, destination=1)
    assert (read(sender, ICR_LOW), read(sender, ICR_HIGH)) == (ASSERT | VECTOR, 1 << 24)


def test_nothing_is_sent_before_the_low_half_is_written(memory: x86.Memory) -> None:
    vcpus = several(2, memory)
    write(vcpus[0], ICR_LOW, SELF | VECTOR)
    write(vcpus[0], ICR_HIGH, 1 << 24)
    assert reached(vcpus) == [0]


@pytest.mark.parametrize("vector", [0, 0x51, 0xFF])
def test_nmi(memory: x86.Memory, vector: int) -> None:
    """Its vector is ignored, and it passes where priority and software disable stop others."""
    sender, target = several(2, memory)
    write(target, TPR, 0xFF)
    write(target, SVR, 0xFF)
    send(sender, NMI_MODE | vector, destination=1)
    assert requested(target) == set()
    assert run(target) == "EXIT_HLT"
    assert delivered(target) == Event(NMI, code_address(1))


def test_nmi_to_the_others(memory: x86.Memory) -> None:
    vcpus = several(3, memory)
    send(vcpus[0], OTHERS | NMI_MODE)
    for vcpu in vcpus:
        assert run(vcpu) == "EXIT_HLT"
    assert [vcpu.stats["nmi_injections"] for vcpu in vcpus] == [0, 1, 1]


@pytest.mark.parametrize("mode", [0x300, 0x700])
def test_reserved_delivery_modes_do_nothing(memory: x86.Memory, mode: int) -> None:
    sender, target = several(2, memory)
    send(sender, mode | VECTOR, destination=1)
    assert requested(target) == set()
    assert interrupt_taken(target) is None


def test_an_edge_clears_the_trigger_mode(memory: x86.Memory) -> None:
    sender, target = several(2, memory)
    send(sender, ASSERT | VECTOR, destination=1)
    assert vectors(target, TMR) == set()


@pytest.mark.parametrize("shorthand", [0, SELF, ALL])
def test_an_ipi_is_always_an_edge(memory: x86.Memory, shorthand: int) -> None:
    """SDM vol. 3, table 11-3: the trigger mode is overridden for all but INIT level de-assert."""
    sender, target = several(2, memory)
    destination = target if not shorthand else sender
    send(sender, shorthand | LEVEL | ASSERT | VECTOR, destination=1)
    assert requested(destination) == {VECTOR}
    assert vectors(destination, TMR) == set()


# Who can send and who can be reached.


def test_disabled_by_software_it_still_sends(memory: x86.Memory) -> None:
    sender, target = flat32("hlt", memory=memory), enabled(memory=memory, index=1)
    send(sender, VECTOR, destination=1)
    assert requested(target) == {VECTOR}


@pytest.mark.parametrize("command", [OTHERS | FIXED, OTHERS | NMI_MODE, FIXED, NMI_MODE])
def test_without_an_apic_nothing_arrives(memory: x86.Memory, command: int) -> None:
    """Disabled by IA32_APIC_BASE, a processor is as one that has none."""
    sender, target = several(2, memory)
    wrmsr(target, APIC_BASE, 0xFEE00000)
    send(sender, command | VECTOR, destination=1)
    assert interrupt_taken(target) is None
    assert target.stats["nmi_injections"] == 0


def test_who_was_deleted_is_not_reached(memory: x86.Memory) -> None:
    vcpus = several(3, memory)
    gone = vcpus.pop()
    del gone
    send(vcpus[0], OTHERS | VECTOR)
    assert reached(vcpus) == [1]
    assert requested(x86.VCPU(memory, index=2)) == set()


# The wake.


@pytest.mark.parametrize("command", [FIXED, LOWEST_PRIORITY, NMI_MODE])
def test_an_ipi_makes_a_halted_vcpu_runnable(memory: x86.Memory, command: int) -> None:
    sender, target = enabled(memory=memory), enabled("sti; hlt", memory=memory, index=1)
    assert run(target) == "EXIT_HLT"
    assert not select.select([target.wake_fd], [], [], 0)[0]
    send(sender, command | VECTOR, destination=1)
    assert target.mp_state == x86.MP_STATE_RUNNABLE
    assert select.select([target.wake_fd], [], [], 0)[0]
    assert run(target) == "EXIT_HLT"
    assert delivered(target).vector == (NMI if command == NMI_MODE else VECTOR)


PING = """
        mov edi, 0xFEE00000
        sti
    again:
        {idle}
        jmp again
    .org 0x80
        mov dword ptr [edi + 0xB0], 0
        inc esi
        cmp esi, 300
        ja out
        mov dword ptr [edi + 0x310], {destination:#x}
        mov dword ptr [edi + 0x300], 0x4051
        iret
    out:
        out 0x80, al
"""


@pytest.mark.parametrize("idle", ["hlt", "mov eax, 0x20000; monitor; mwait", "inc ebx"])
def test_none_is_lost(memory: x86.Memory, idle: str) -> None:
    """Two vCPUs that interrupt each other in turn, hundreds of times, asleep in between."""
    vcpus = [
        enabled(PING.format(idle=idle, destination=(1 - index) << 24), memory=memory, index=index)
        for index in range(2)
    ]
    for vcpu in vcpus:
        vcpu.userspace_exits, vcpu.mwait_policy = 0, x86.MWAIT_FAULT
        vcpu.ecx = vcpu.esi = 0
    set_gate(memory, VECTOR, gate(code_address(0) + 0x80))
    other = b"".join(gate(code_address(1) + 0x80) for _ in range(256))
    memory.write(OTHER_IDT, other)
    vcpus[1].idt_base = OTHER_IDT
    send(vcpus[1], VECTOR, destination=0)
    with Running(vcpus[0]) as first, Running(vcpus[1]) as second:
        assert first.exit() == "EXIT_IO"
        second.vcpu.kick()
        assert second.exit() == "EXIT_INTR"
    assert (vcpus[0].esi, vcpus[1].esi) == (301, 300)


@pytest.mark.parametrize("source", ["hlt", "mwait", "busy"])
@pytest.mark.parametrize("command", [FIXED, NMI_MODE])
def test_an_ipi_reaches_a_vcpu_that_is_in_the_core(
    memory: x86.Memory, source: str, command: int
) -> None:
    sources = {
        "hlt": "sti; again: hlt; jmp again",
        "mwait": "sti; again: mov eax, 0x20000; monitor; mwait; jmp again",
        "busy": "sti; again: inc dword ptr [0x20000]; jmp again",
    }
    sender = enabled(memory=memory)
    target = enabled(sources[source], memory=memory, index=1)
    target.userspace_exits, target.mwait_policy = 0, x86.MWAIT_FAULT
    target.ecx = 0
    with Running(target) as running:
        if source != "busy":
            running.asleep(source)
        target.userspace_exits = x86.USERSPACE_EXIT_HLT  # for the handler's HLT
        send(sender, command | VECTOR, destination=1)
        assert running.exit() == "EXIT_HLT"
    assert delivered(target).vector == (NMI if command == NMI_MODE else VECTOR)
