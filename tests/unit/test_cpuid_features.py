"""What CPUID offers on request, and says of APIC, time and topology (SDM and APM)."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import x86core as x86
from tests.support import RAM, UD, delivered, flat32, run

WAITPKG = 1 << 5  #: leaf 7, ECX
MONITORX = 1 << 29  #: leaf 80000001h, ECX
APIC = 1 << 9  #: leaf 1, EDX
TSC_DEADLINE, X2APIC, HYPERVISOR = 1 << 24, 1 << 21, 1 << 31  #: leaf 1, ECX
EXTENDED = 0x80000000


class Leaf(NamedTuple):
    eax: int
    ebx: int
    ecx: int
    edx: int


def leaves(
    *numbers: int,
    subleaf: int = 0,
    features: tuple[str, ...] = (),
    vcpu: x86.VCPU | None = None,
) -> list[Leaf]:
    """What CPUID answers to some leaves."""
    vcpu = flat32("again: cpuid; out 0x80, al; jmp again") if vcpu is None else vcpu
    vcpu.features = features
    answers = []
    for number in numbers:
        vcpu.eax, vcpu.ecx = number, subleaf
        assert run(vcpu) == "EXIT_IO"
        answers.append(Leaf(vcpu.eax, vcpu.ebx, vcpu.ecx, vcpu.edx))
        assert vcpu.run(max_instructions=2) == x86.EXIT_LIMIT
    return answers


def guest(memory: x86.Memory, index: int) -> x86.VCPU:
    return flat32("again: cpuid; out 0x80, al; jmp again", memory=memory, index=index)


# Features on request.


@pytest.mark.parametrize("features", [(), ("monitorx",), ("waitpkg",), ("monitorx", "waitpkg")])
def test_each_feature_is_offered_on_request(features: tuple[str, ...]) -> None:
    seven, extended = leaves(7, EXTENDED + 1, features=features)
    assert bool(seven.ecx & WAITPKG) == ("waitpkg" in features)
    assert bool(extended.ecx & MONITORX) == ("monitorx" in features)
    assert seven.ecx & ~WAITPKG == seven.ebx == seven.edx == 0
    assert extended.ecx & ~MONITORX == extended.ebx == extended.edx == 0


@pytest.mark.parametrize(
    ("feature", "instruction"),
    [
        ("monitorx", "monitorx"),
        ("monitorx", "xor eax, eax; cdq; mwaitx"),
        ("waitpkg", "umonitor eax"),
        ("waitpkg", "xor eax, eax; umwait eax"),
        ("waitpkg", "xor eax, eax; tpause eax"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_what_is_offered_exists(feature: str, instruction: str, asked: bool) -> None:
    vcpu = flat32(f"xor ecx, ecx; mov eax, 0x20000; {instruction}; hlt")
    vcpu.features = (feature,) if asked else ()
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.last_event == UD) is not asked
    if not asked:
        assert delivered(vcpu).vector == UD


def test_features_are_names() -> None:
    vcpu = flat32("hlt")
    assert vcpu.features == ()
    vcpu.features = ["waitpkg", "monitorx", "waitpkg"]
    assert sorted(vcpu.features) == ["monitorx", "waitpkg"]
    vcpu.features = ()
    assert vcpu.features == ()


@pytest.mark.parametrize("names", [["mwaitx"], ["waitpkg", "sse"]])
def test_unknown_feature(names: list[str]) -> None:
    vcpu = flat32("hlt")
    with pytest.raises(ValueError, match=r"monitorx, waitpkg"):
        vcpu.features = names
    assert vcpu.features == ()


def test_a_string_is_no_list_of_names() -> None:
    """'waitpkg' would be seven features of a letter each."""
    vcpu = flat32("hlt")
    with pytest.raises((TypeError, ValueError)):
        vcpu.features = "waitpkg"
    assert vcpu.features == ()


def test_each_vcpu_has_its_own(memory: x86.Memory) -> None:
    first, second = (flat32("hlt", memory=memory, index=index) for index in range(2))
    first.features = ("waitpkg",)
    assert second.features == ()


# The APIC and its timer.


def test_the_apic_and_its_deadline_mode_are_offered_without_asking() -> None:
    (one,) = leaves(1)
    assert one.edx & APIC
    assert one.ecx & (TSC_DEADLINE | HYPERVISOR) == TSC_DEADLINE | HYPERVISOR
    assert not one.ecx & X2APIC


def test_crystal_and_tsc() -> None:
    """Leaf 15h: crystal in ECX, ratio EBX / EAX; the TSC ticks each nanosecond."""
    (time,) = leaves(0x15)
    assert time.ecx * time.ebx // time.eax == 10**9
    assert time.edx == 0


def test_the_highest_leaves() -> None:
    """All that are used can be reached."""
    basic, extended = leaves(0, EXTENDED)
    assert basic.eax >= 0x15
    assert extended.eax == EXTENDED + 1


@pytest.mark.parametrize("subleaf", [1, 2, 0xFFFFFFFF])
def test_leaf_7_has_one_subleaf(subleaf: int) -> None:
    assert leaves(7, features=("waitpkg",))[0].eax == 0
    assert leaves(7, subleaf=subleaf, features=("waitpkg",)) == [Leaf(0, 0, 0, 0)]


def test_leaves_of_what_there_is_not_are_zero() -> None:
    """Between those that are used."""
    assert leaves(2, 6, 9, 0xA, 0xD, 0x14) == [Leaf(0, 0, 0, 0)] * 6


# Topology (leaf 0Bh).


@pytest.mark.parametrize("index", [0, 1, 100])
def test_each_subleaf_names_the_vcpu(memory: x86.Memory, index: int) -> None:
    vcpu = guest(memory, index)
    for subleaf in range(4):
        assert leaves(0xB, subleaf=subleaf, vcpu=vcpu)[0].edx == index


def test_a_number_beyond_8_bits_is_whole_in_leaf_0b() -> None:
    """Leaf 1 has but its low 8 bits, as the APIC ID."""
    vcpu = guest(x86.Memory(4 << 20), 300)
    one, topology = leaves(1, 0xB, vcpu=vcpu)
    assert one.ebx >> 24 == 300 & 0xFF
    assert topology.edx == 300


def test_levels(memory: x86.Memory) -> None:
    """A thread a core; then as many cores as there are vCPUs; then no level more."""
    vcpus = [guest(memory, index) for index in range(3)]
    thread, core, none = (leaves(0xB, subleaf=level, vcpu=vcpus[1])[0] for level in range(3))
    assert (thread.eax, thread.ebx, thread.ecx) == (0, 1, 0x100)
    assert (core.ebx, core.ecx) == (3, 0x201)
    assert 1 << core.eax >= 3
    assert (none.eax, none.ebx, none.ecx) == (0, 0, 2)


def test_one_beyond_the_highest_leaf_answers_as_the_highest() -> None:
    """Extended ones too."""
    basic, beyond, extended = leaves(0x15, 0x16, EXTENDED + 2)
    assert basic == beyond == extended


def test_memory_of_any_size_has_the_same_processor() -> None:
    small, large = (guest(x86.Memory(size), 0) for size in (RAM, 2 * RAM))
    numbers = (0, 1, 5, 7, 0xB, 0x15, EXTENDED, EXTENDED + 1)
    assert leaves(*numbers, vcpu=small) == leaves(*numbers, vcpu=large)
