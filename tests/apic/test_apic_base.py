"""IA32_APIC_BASE: where the APIC's page is, and whether there is one (SDM vol. 3, 11.4)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.apic.local_apic import (
    APIC_BASE,
    DEADLINE,
    ID,
    LVT_TIMER,
    PAGE,
    SELF,
    SVR,
    TPR,
    TSC_DEADLINE,
    VERSION,
    enabled,
    execute,
    interrupt_taken,
    rdmsr,
    read,
    requested,
    send,
    shown,
    tsc,
    write,
    wrmsr,
)
from tests.isa.faults import expect_fault
from tests.support import CODE, GP, RAM, Event, flat32, run

ENABLED, BOOTSTRAP = 1 << 11, 1 << 8
ELSEWHERE = 0xF0000000
#: CPUID.1:EDX.
APIC_FEATURE = 1 << 9


@pytest.mark.parametrize(("index", "bootstrap"), [(0, BOOTSTRAP), (1, 0), (5, 0)])
def test_after_reset(memory: x86.Memory, index: int, bootstrap: int) -> None:
    """Enabled at FEE00000h; the bootstrap processor is marked."""
    vcpu = flat32("hlt", memory=memory, index=index)
    assert rdmsr(vcpu, APIC_BASE) == PAGE | ENABLED | bootstrap


@pytest.mark.parametrize("bit", [*range(8), 9, 10, 32, 36, 52, 63])
def test_reserved_bits(bit: int) -> None:
    """x2APIC mode (bit 10) is one of them, as CPUID does not offer it."""
    value = PAGE | ENABLED | BOOTSTRAP | 1 << bit
    expect_fault(
        flat32("wrmsr"),
        Event(GP, CODE, 0),
        ecx=APIC_BASE,
        edx=value >> 32,
        eax=value & 0xFFFFFFFF,
    )


@pytest.mark.parametrize("page", [0, RAM - 0x1000])
def test_not_over_ram(page: int) -> None:
    """What our machines refuse: a page of RAM that one processor does not see."""
    expect_fault(
        flat32("wrmsr"), Event(GP, CODE, 0), ecx=APIC_BASE, edx=0, eax=page | ENABLED | BOOTSTRAP
    )


def test_writing_what_was_read_changes_nothing() -> None:
    vcpu = enabled()
    write(vcpu, TPR, 0x42)
    wrmsr(vcpu, APIC_BASE, rdmsr(vcpu, APIC_BASE))
    assert (read(vcpu, TPR), rdmsr(vcpu, APIC_BASE)) == (0x42, PAGE | ENABLED | BOOTSTRAP)


# Elsewhere.


def load(vcpu: x86.VCPU, address: int) -> int:
    return execute(vcpu, b"\x8b\x02", edx=address) & 0xFFFFFFFF


@pytest.mark.parametrize("page", [ELSEWHERE, RAM, 0xFFFFF000])
def test_relocation(page: int) -> None:
    """All registers go with it, and devices are where it was."""
    vcpu = enabled()
    write(vcpu, TPR, 0x42)
    wrmsr(vcpu, APIC_BASE, page | ENABLED | BOOTSTRAP)
    assert load(vcpu, page + TPR) == 0x42
    assert load(vcpu, page + VERSION) == shown(vcpu, VERSION)
    vcpu.memory.write(CODE, b"\x8b\x02\xf4")
    vcpu.edx = PAGE + TPR
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == PAGE + TPR


def test_relocated_it_works() -> None:
    vcpu = enabled()
    wrmsr(vcpu, APIC_BASE, ELSEWHERE | ENABLED | BOOTSTRAP)
    execute(vcpu, b"\x89\x02", edx=ELSEWHERE + 0x300, eax=SELF | 0x41)
    assert interrupt_taken(vcpu) == 0x41


def test_each_vcpu_moves_its_own(memory: x86.Memory) -> None:
    first, second = (enabled(memory=memory, index=index) for index in range(2))
    wrmsr(first, APIC_BASE, ELSEWHERE | ENABLED)
    assert load(first, ELSEWHERE + ID) == 0
    assert load(second, PAGE + ID) == 1 << 24


# Nowhere.


def features(vcpu: x86.VCPU) -> int:
    """EDX of CPUID.1."""
    return execute(vcpu, b"\x0f\xa2", eax=1) >> 32


def test_disabled_there_is_none() -> None:
    """As a processor without one: CPUID says so, and the page belongs to devices."""
    vcpu = enabled("mov eax, [edx]; hlt")
    assert features(vcpu) & APIC_FEATURE
    wrmsr(vcpu, APIC_BASE, PAGE | BOOTSTRAP)
    assert not features(vcpu) & APIC_FEATURE
    vcpu.edx = PAGE + VERSION
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == PAGE + VERSION


def test_disabled_and_enabled_it_is_as_after_reset() -> None:
    vcpu = enabled()
    write(vcpu, TPR, 0x42)
    send(vcpu, SELF | 0x81)
    assert requested(vcpu) == {0x81}
    wrmsr(vcpu, APIC_BASE, PAGE | BOOTSTRAP)
    assert interrupt_taken(vcpu) is None
    wrmsr(vcpu, APIC_BASE, PAGE | ENABLED | BOOTSTRAP)
    assert (read(vcpu, TPR), read(vcpu, SVR), requested(vcpu)) == (0, 0xFF, set())
    assert features(vcpu) & APIC_FEATURE


def test_disabling_stops_the_timer() -> None:
    vcpu = enabled()
    write(vcpu, LVT_TIMER, TSC_DEADLINE | 0x41)
    wrmsr(vcpu, DEADLINE, tsc(vcpu) + 1_000_000)
    wrmsr(vcpu, APIC_BASE, PAGE | BOOTSTRAP)
    wrmsr(vcpu, APIC_BASE, PAGE | ENABLED | BOOTSTRAP)
    write(vcpu, SVR, 0x1FF)
    write(vcpu, LVT_TIMER, TSC_DEADLINE | 0x41)
    assert rdmsr(vcpu, DEADLINE) == 0


@pytest.mark.parametrize("number", [0x1A, 0x1C, 0x6DF, 0x6E1, 0x802, 0x830])
@pytest.mark.parametrize("source", ["rdmsr", "wrmsr"])
def test_its_neighbours_do_not_exist(source: str, number: int) -> None:
    """Nor do the registers of x2APIC mode."""
    expect_fault(flat32(source), Event(GP, CODE, 0), ecx=number)
