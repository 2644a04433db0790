"""The APIC's timer in TSC-deadline mode, and what a change of mode does (SDM vol. 3, 11.5.4.1)."""

from __future__ import annotations

import pytest

from tests.apic.local_apic import (
    CURRENT_COUNT,
    DEADLINE,
    EOI,
    INITIAL_COUNT,
    LVT_TIMER,
    MASKED,
    ONE_SHOT,
    PERIODIC,
    TSC,
    TSC_DEADLINE,
    interrupt_taken,
    interrupts_taken,
    rdmsr,
    read,
    requested,
    tsc,
    write,
    wrmsr,
)
from tests.apic.timer_guest import LONG, NOTES, VECTOR, moments, timer


def test_deadline() -> None:
    vcpu = timer(TSC_DEADLINE, NOTES)
    deadline = tsc(vcpu) + 300_000
    wrmsr(vcpu, DEADLINE, deadline)
    assert moments(vcpu, 1)[0] >= deadline
    assert rdmsr(vcpu, DEADLINE) == 0, "it disarms itself"
    write(vcpu, EOI, 0)
    assert requested(vcpu) == set()


def test_deadline_reads_back_until_it_is_over() -> None:
    vcpu = timer(TSC_DEADLINE)
    deadline = tsc(vcpu) + LONG
    wrmsr(vcpu, DEADLINE, deadline)
    assert rdmsr(vcpu, DEADLINE) == deadline
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize("ago", [0, 1, 1_000_000])
def test_a_deadline_that_is_over_interrupts_at_once(ago: int) -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, TSC, 1 << 40)
    wrmsr(vcpu, DEADLINE, tsc(vcpu) - ago)
    assert interrupts_taken(vcpu) == [VECTOR]
    assert rdmsr(vcpu, DEADLINE) == 0


def test_each_write_interrupts_once() -> None:
    vcpu = timer(TSC_DEADLINE)
    for _ in range(3):
        wrmsr(vcpu, DEADLINE, 1)
        assert interrupts_taken(vcpu) == [VECTOR]


def test_a_deadline_of_0_disarms() -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, DEADLINE, tsc(vcpu) + LONG)
    wrmsr(vcpu, DEADLINE, 0)
    assert rdmsr(vcpu, DEADLINE) == 0
    wrmsr(vcpu, TSC, 1 << 40)
    assert interrupt_taken(vcpu) is None


def test_the_deadline_can_be_moved_both_ways() -> None:
    vcpu = timer(TSC_DEADLINE)
    now = tsc(vcpu)
    wrmsr(vcpu, DEADLINE, now + LONG)
    wrmsr(vcpu, DEADLINE, now + 2 * LONG)
    assert interrupt_taken(vcpu) is None
    wrmsr(vcpu, DEADLINE, now)
    assert interrupt_taken(vcpu) == VECTOR


def test_a_masked_deadline_interrupts_nobody() -> None:
    vcpu = timer(MASKED | TSC_DEADLINE)
    wrmsr(vcpu, DEADLINE, 1)
    assert interrupt_taken(vcpu) is None
    write(vcpu, LVT_TIMER, TSC_DEADLINE | VECTOR)
    assert interrupt_taken(vcpu) is None


def test_the_count_is_not_used_with_a_deadline() -> None:
    """Writes to the initial count are ignored, and the current one reads 0."""
    vcpu = timer(TSC_DEADLINE)
    write(vcpu, INITIAL_COUNT, LONG)
    assert (read(vcpu, INITIAL_COUNT), read(vcpu, CURRENT_COUNT)) == (0, 0)
    wrmsr(vcpu, DEADLINE, tsc(vcpu) + LONG)
    assert read(vcpu, CURRENT_COUNT) == 0


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC])
def test_the_deadline_is_not_used_with_a_count(mode: int) -> None:
    vcpu = timer(mode)
    wrmsr(vcpu, DEADLINE, 1)
    assert rdmsr(vcpu, DEADLINE) == 0
    assert interrupt_taken(vcpu) is None


def test_the_deadline_follows_the_tsc() -> None:
    """It is compared with the counter as it is, also when that was written."""
    vcpu = timer(TSC_DEADLINE)
    deadline = tsc(vcpu) + (1 << 45)
    wrmsr(vcpu, DEADLINE, deadline)
    assert interrupt_taken(vcpu) is None
    wrmsr(vcpu, TSC, deadline)
    assert interrupt_taken(vcpu) == VECTOR


def test_setting_the_tsc_back_postpones_the_deadline() -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, TSC, 1 << 40)
    wrmsr(vcpu, DEADLINE, (1 << 40) + 50_000_000)
    wrmsr(vcpu, TSC, 0)
    assert interrupt_taken(vcpu) is None
    assert rdmsr(vcpu, DEADLINE) == (1 << 40) + 50_000_000


@pytest.mark.parametrize("now", [0, 1 << 32, (1 << 61) + 5, 1 << 62, (1 << 63) + 5], ids=hex)
def test_any_value_of_the_tsc_will_do(now: int) -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, TSC, now)
    wrmsr(vcpu, DEADLINE, now + 1)
    assert interrupt_taken(vcpu) == VECTOR
    write(vcpu, EOI, 0)
    wrmsr(vcpu, DEADLINE, now + LONG)
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize("deadline", [1 << 62, (1 << 63) - 1, (1 << 64) - 1], ids=hex)
def test_a_deadline_for_ever(deadline: int) -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, DEADLINE, deadline)
    assert interrupt_taken(vcpu) is None
    assert rdmsr(vcpu, DEADLINE) == deadline


# From one mode to another.


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC])
def test_to_deadline_mode_stops_the_count(mode: int) -> None:
    vcpu = timer(mode)
    write(vcpu, INITIAL_COUNT, LONG)
    write(vcpu, LVT_TIMER, TSC_DEADLINE | VECTOR)
    assert read(vcpu, CURRENT_COUNT) == 0
    write(vcpu, LVT_TIMER, mode | VECTOR)
    assert read(vcpu, CURRENT_COUNT) == 0
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC])
def test_from_deadline_mode_disarms(mode: int) -> None:
    vcpu = timer(TSC_DEADLINE)
    wrmsr(vcpu, DEADLINE, tsc(vcpu) + LONG)
    write(vcpu, LVT_TIMER, mode | VECTOR)
    assert rdmsr(vcpu, DEADLINE) == 0
    write(vcpu, LVT_TIMER, TSC_DEADLINE | VECTOR)
    assert rdmsr(vcpu, DEADLINE) == 0
    wrmsr(vcpu, TSC, 1 << 45)
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize(("before", "after"), [(ONE_SHOT, PERIODIC), (PERIODIC, ONE_SHOT)])
def test_any_change_of_mode_disarms(before: int, after: int) -> None:
    """SDM vol. 3, 11.5.4.1: a write to LVT timer that changes the mode disarms the timer."""
    vcpu = timer(before)
    write(vcpu, INITIAL_COUNT, LONG)
    write(vcpu, LVT_TIMER, after | VECTOR)
    assert read(vcpu, CURRENT_COUNT) == 0


def test_a_new_vector_or_mask_leaves_the_count_alone() -> None:
    vcpu = timer()
    write(vcpu, INITIAL_COUNT, LONG)
    for entry in (MASKED | VECTOR, 0x55, VECTOR):
        write(vcpu, LVT_TIMER, entry)
        assert 0 < read(vcpu, CURRENT_COUNT) < LONG
