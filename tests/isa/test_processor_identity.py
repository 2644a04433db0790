"""CPUID and RDTSC: what the guest can learn of the processor and of time."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.support import DATA, HANDLERS, RAM, UD, flat32, run

#: Places in what `cpuid` returns.
ECX, EDX = 2, 3


def cpuid(leaf: int, *, index: int = 0, subleaf: int = 0) -> tuple[int, int, int, int]:
    """EAX, EBX, ECX, EDX."""
    vcpu = flat32("cpuid; hlt", memory=x86.Memory(RAM), index=index)
    vcpu.eax, vcpu.ecx, vcpu.ebx, vcpu.edx = leaf, subleaf, 0xFFFFFFFF, 0xFFFFFFFF
    assert run(vcpu) == "EXIT_HLT"
    return vcpu.eax, vcpu.ebx, vcpu.ecx, vcpu.edx


def test_leaf_0_gives_the_highest_leaf_and_a_name() -> None:
    highest, *name = cpuid(0)
    assert 5 <= highest < 0x80000000
    ebx, ecx, edx = (word.to_bytes(4, "little") for word in name)
    assert (ebx + edx + ecx).decode("ascii").isprintable()


@pytest.mark.parametrize(
    ("register", "bit", "instruction"),
    [
        (EDX, 4, "rdtsc"),
        (EDX, 5, "rdmsr"),
        (EDX, 8, f"cmpxchg8b [{DATA}]"),
        (EDX, 11, "sysenter"),
        (EDX, 15, "cmovc eax, ecx"),
        (EDX, 19, f"clflush [{DATA}]"),
        (EDX, 23, "emms"),
        (EDX, 25, "xorps xmm0, xmm0"),
        (ECX, 3, "xor ecx, ecx; monitor"),
        (ECX, 22, f"movbe eax, [{DATA}]"),
        (ECX, 23, "popcnt eax, ecx"),
    ],
)
def test_leaf_1_announces_an_instruction_exactly_if_it_exists(
    register: int, bit: int, instruction: str
) -> None:
    vcpu = flat32(f"{instruction}; hlt")
    assert run(vcpu) == "EXIT_HLT"
    is_undefined = vcpu.eip == HANDLERS + UD + 1
    assert bool(cpuid(1)[register] & 1 << bit) is not is_undefined


@pytest.mark.parametrize("index", [0, 1, 5])
def test_leaf_1_gives_the_number_of_the_vcpu(index: int) -> None:
    assert cpuid(1, index=index)[1] >> 24 == index


def test_leaf_5_describes_the_monitor() -> None:
    """Smallest and largest line of 64 bytes; extensions listed, ECX[0] of MWAIT supported."""
    eax, ebx, ecx, _ = cpuid(5)
    assert (eax, ebx) == (64, 64)
    assert ecx & 3 == 3


def test_a_basic_leaf_beyond_the_highest_answers_as_the_highest() -> None:
    """SDM vol. 2, CPUID: "the data for the highest basic information leaf is returned"."""
    highest = cpuid(0)[0]
    assert cpuid(highest + 1) == cpuid(highest)


def test_cpuid_changes_no_flags() -> None:
    vcpu = flat32("xor eax, eax; stc; cpuid; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags & 0x8D5 == 1 << 6 | 1 << 2 | 1


def read_tsc(vcpu: x86.VCPU) -> int:
    assert run(vcpu) == "EXIT_IO"
    return vcpu.edx << 32 | vcpu.eax


def test_tsc_ticks_once_a_nanosecond() -> None:
    vcpu = flat32("again: rdtsc; out 0x80, al; jmp again")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    first = read_tsc(vcpu)
    middle = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    while time.clock_gettime_ns(time.CLOCK_MONOTONIC) < middle + 5_000_000:
        pass
    later = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    second = read_tsc(vcpu)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert later - middle <= second - first <= after - before


def test_tsc_is_the_same_for_all_vcpus(memory: x86.Memory) -> None:
    source = "again: rdtsc; out 0x80, al; jmp again"
    vcpus = [flat32(source, memory=memory, index=index) for index in range(2)]
    reads = [read_tsc(vcpus[turn % 2]) for turn in range(10)]
    assert reads == sorted(reads)
    assert len(set(reads)) == len(reads)


def test_tsc_never_goes_back_within_a_guest() -> None:
    vcpu = flat32(
        """
        again:
            rdtsc
            cmp edx, edi
            jb back
            ja forth
            cmp eax, esi
            jb back
        forth:
            mov esi, eax
            mov edi, edx
            dec ecx
            jnz again
            hlt
        back:
            ud2
        """
    )
    vcpu.ecx, vcpu.esi, vcpu.edi = 20_000, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx == 0
