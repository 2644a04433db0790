"""RDMSR and WRMSR: the time-stamp counter and IA32_MISC_ENABLE, nothing else (SDM vol. 4)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.isa.faults import expect_fault
from tests.support import CODE, GP, UD, Event, delivered, flat32, real16, run

TSC, MISC_ENABLE = 0x10, 0x1A0
MONITOR = 1 << 18
#: CPUID.1:ECX.
MONITOR_FEATURE = 1 << 3


def test_rdmsr_of_the_tsc_is_rdtsc() -> None:
    vcpu = flat32(
        "rdtsc; mov esi, eax; mov edi, edx; rdmsr; mov ebx, eax; mov ebp, edx; rdtsc; hlt"
    )
    vcpu.ecx = TSC
    assert run(vcpu) == "EXIT_HLT"
    first, second, third = (
        high << 32 | low
        for high, low in ((vcpu.edi, vcpu.esi), (vcpu.ebp, vcpu.ebx), (vcpu.edx, vcpu.eax))
    )
    assert first <= second <= third < first + 10**9


def test_wrmsr_sets_the_tsc_of_its_own_vcpu_only(memory: x86.Memory) -> None:
    writer = flat32("wrmsr; rdtsc; hlt", memory=memory)
    other = flat32("rdtsc; hlt", memory=memory, index=1)
    writer.ecx, writer.edx, writer.eax = TSC, 0x00123456, 0x789ABCDE
    assert [run(writer), run(other)] == ["EXIT_HLT"] * 2
    value = 0x00123456_789ABCDE
    assert value <= writer.edx << 32 | writer.eax < value + 10**9
    assert other.edx < 0x00123456


def test_the_tsc_goes_on_from_what_was_written() -> None:
    vcpu = flat32("xor eax, eax; cdq; wrmsr; again: rdtsc; test eax, eax; jz again; hlt")
    vcpu.ecx = TSC
    assert run(vcpu) == "EXIT_HLT"
    assert 0 < vcpu.edx << 32 | vcpu.eax < 10**9


def test_monitor_is_enabled_after_reset() -> None:
    vcpu = flat32("rdmsr; hlt")
    vcpu.ecx = MISC_ENABLE
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.edx, vcpu.eax) == (0, MONITOR)


@pytest.mark.parametrize("source", ["monitor", "mwait"])
def test_turned_off_monitor_neither_exists_nor_is_announced(source: str) -> None:
    vcpu = flat32(
        f"wrmsr; rdmsr; mov esi, eax; mov eax, 1; cpuid; mov edi, ecx; xor ecx, ecx; {source}"
    )
    vcpu.ecx, vcpu.edx, vcpu.eax = MISC_ENABLE, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE + 17)
    assert vcpu.esi == 0
    assert vcpu.edi & MONITOR_FEATURE == 0


def test_monitor_can_be_turned_on_again() -> None:
    source = "wrmsr; mov eax, 0x40000; wrmsr; mov eax, 1; cpuid; mov edi, ecx; xor ecx, ecx;"
    vcpu = flat32(f"{source} monitor; hlt")
    vcpu.ecx, vcpu.edx, vcpu.eax = MISC_ENABLE, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.edi & MONITOR_FEATURE


def test_reset_turns_monitor_on() -> None:
    vcpu = flat32("wrmsr; hlt")
    vcpu.ecx, vcpu.edx, vcpu.eax = MISC_ENABLE, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    vcpu.reset()
    vcpu.memory.write(CODE, b"\x0f\x32\xf4")  # RDMSR; HLT
    vcpu.start_flat32(eip=CODE, esp=0x9000)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    vcpu.ecx = MISC_ENABLE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == MONITOR


@pytest.mark.parametrize("number", [0, 0x11, 0x1C, 0xE1, 0x19F, 0x1A1, 0xC0000080, 0xFFFFFFFF])
@pytest.mark.parametrize("source", ["rdmsr", "wrmsr"])
def test_no_other_register_exists(source: str, number: int) -> None:
    expect_fault(flat32(source), Event(GP, CODE, 0), ecx=number)


@pytest.mark.parametrize("value", [1, MONITOR | 1, 1 << 17, 1 << 32, 1 << 63 | MONITOR])
def test_reserved_bits_of_misc_enable(value: int) -> None:
    vcpu = flat32("wrmsr")
    expect_fault(vcpu, Event(GP, CODE, 0), ecx=MISC_ENABLE, edx=value >> 32, eax=value & 0xFFFFFFFF)


def test_in_real_mode() -> None:
    vcpu = real16("rdmsr; wrmsr; mov ecx, 1; wrmsr")
    vcpu.ecx = MISC_ENABLE
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 10, cs=CODE >> 4)
    assert vcpu.eax == MONITOR
