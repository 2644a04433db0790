"""The APIC's timer: how it counts, and when it interrupts (SDM vol. 3, 11.5.4).

A tick of the TSC is a nanosecond, and so is one of the timer when it is divided by 1.
"""

from __future__ import annotations

import pytest

import x86core as x86
from tests.apic.local_apic import (
    BY_1,
    CURRENT_COUNT,
    DIVIDE,
    ENABLED,
    INITIAL_COUNT,
    IRR,
    LVT_TIMER,
    MASKED,
    ONE_SHOT,
    PAGE,
    PERIODIC,
    SVR,
    TPR,
    enabled,
    interrupt_taken,
    interrupts_taken,
    read,
    requested,
    shown,
    tsc,
    write,
)
from tests.apic.timer_guest import LONG, NOTES, VECTOR, moments, timer
from tests.support import CODE, Running, gate, run, set_gate, wait_until

SHORT = 1000


def ends(vcpu: x86.VCPU) -> None:
    """Wait until a one-shot count is over."""
    wait_until(lambda: read(vcpu, CURRENT_COUNT) == 0, "the end of the count")


# Counting.


@pytest.mark.parametrize(
    ("configuration", "divisor"),
    [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)],
)
@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC])
def test_divide_configuration(configuration: int, divisor: int, mode: int) -> None:
    vcpu = timer(MASKED | mode)
    write(vcpu, DIVIDE, configuration)
    begin = tsc(vcpu)
    write(vcpu, INITIAL_COUNT, LONG)
    began = tsc(vcpu)
    wait_until(lambda: tsc(vcpu) > began + 5 * divisor, "a few ticks")
    end = tsc(vcpu)
    count = read(vcpu, CURRENT_COUNT)
    ended = tsc(vcpu)
    passed = (LONG - count) * divisor
    assert end - began - divisor <= passed <= ended - begin
    assert read(vcpu, INITIAL_COUNT) == LONG


@pytest.mark.parametrize(("before", "after"), [(BY_1, 10), (10, BY_1)])
def test_the_divisor_is_that_of_the_ticks_to_come(before: int, after: int) -> None:
    """It says how fast the count goes down, not what it is."""
    vcpu = timer(MASKED)
    write(vcpu, DIVIDE, before)
    write(vcpu, INITIAL_COUNT, LONG)
    first = read(vcpu, CURRENT_COUNT)
    write(vcpu, DIVIDE, after)
    assert first - LONG // 4 < read(vcpu, CURRENT_COUNT) <= first


def test_without_a_count_it_stands_still() -> None:
    vcpu = timer()
    assert read(vcpu, CURRENT_COUNT) == 0
    assert interrupt_taken(vcpu) is None


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC])
def test_a_count_of_0_stops_it(mode: int) -> None:
    vcpu = timer(mode)
    write(vcpu, INITIAL_COUNT, LONG)
    write(vcpu, INITIAL_COUNT, 0)
    assert (read(vcpu, INITIAL_COUNT), read(vcpu, CURRENT_COUNT)) == (0, 0)
    assert interrupt_taken(vcpu) is None


def test_a_new_count_begins_anew() -> None:
    vcpu = timer()
    write(vcpu, INITIAL_COUNT, LONG)
    write(vcpu, INITIAL_COUNT, 2 * LONG - 1)
    assert LONG < read(vcpu, CURRENT_COUNT) < 2 * LONG


# Interrupting.


def test_one_shot() -> None:
    """The count ends at 0 and stays there; there is one interrupt."""
    vcpu = timer()
    write(vcpu, INITIAL_COUNT, SHORT)
    ends(vcpu)
    assert interrupts_taken(vcpu) == [VECTOR]
    assert (read(vcpu, INITIAL_COUNT), read(vcpu, CURRENT_COUNT)) == (SHORT, 0)
    assert requested(vcpu) == set()


COUNTS = f"""
        mov edi, {PAGE}
        mov ecx, 400
        xor esi, esi
        sti
    shoot:
        xor ebx, ebx
        mov dword ptr [edi + 0x380], 15000
    wait:
        inc eax
        test ebx, ebx
        jz wait
        mov edx, 5000
    rest:
        dec edx
        jnz rest
        dec ecx
        jnz shoot
        cli
        out 0x80, al
    .org 0x80
        inc ebx
        inc esi
        mov dword ptr [edi + 0xB0], 0
        iret
"""


def test_one_shot_interrupts_once() -> None:
    """A guest that counts 400 shots, each of which may come at any instruction of its loop."""
    vcpu = timer(source=COUNTS)
    set_gate(vcpu.memory, VECTOR, gate(CODE + 0x80))
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_IO"
    assert vcpu.esi == 400


def test_one_shot_is_not_early() -> None:
    vcpu = timer(source=NOTES)
    began = tsc(vcpu)
    write(vcpu, INITIAL_COUNT, 200_000)
    assert moments(vcpu, 1)[0] >= began + 200_000


def test_periodic() -> None:
    """It goes on by itself: no interrupt is early, and the delay of one delays no other."""
    period = 300_000
    vcpu = timer(PERIODIC, NOTES)
    began = tsc(vcpu)
    write(vcpu, INITIAL_COUNT, period)
    started = tsc(vcpu)
    for number, moment in enumerate(moments(vcpu, 8), 1):
        assert moment >= began + number * period
    assert read(vcpu, INITIAL_COUNT) == period
    before = tsc(vcpu)
    count = read(vcpu, CURRENT_COUNT)
    after = tsc(vcpu)
    assert 0 < count <= period
    number = (after + count - began) // period
    assert before + count <= started + number * period, "still in step with the first"


def test_periods_that_nobody_saw_are_one_interrupt() -> None:
    vcpu = timer(PERIODIC)
    write(vcpu, INITIAL_COUNT, 100_000)
    began = tsc(vcpu)
    wait_until(lambda: tsc(vcpu) > began + 1_000_000, "ten periods")
    write(vcpu, LVT_TIMER, MASKED | PERIODIC | VECTOR)
    assert interrupts_taken(vcpu) == [VECTOR]


def test_a_period_too_short_to_do_anything_in() -> None:
    """The guest serves its timer and nothing else; it can still be taken out."""
    source = "sti; again: inc ecx; jmp again; .org 0x80; mov dword ptr [0xFEE000B0], 0; iret"
    vcpu = timer(PERIODIC, source)
    set_gate(vcpu.memory, VECTOR, gate(CODE + 0x80))
    write(vcpu, INITIAL_COUNT, 1)
    with Running(vcpu) as running:
        wait_until(lambda: vcpu.stats["irq_injections"] > 100, "interrupts")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"


def test_stopping_a_periodic_timer() -> None:
    vcpu = timer(PERIODIC)
    write(vcpu, INITIAL_COUNT, 100_000)
    wait_until(lambda: read(vcpu, IRR + 0x20) != 0, "a period")
    write(vcpu, INITIAL_COUNT, 0)
    interrupts_taken(vcpu)
    began = tsc(vcpu)
    wait_until(lambda: tsc(vcpu) > began + 500_000, "five periods")
    assert interrupt_taken(vcpu) is None


def test_it_obeys_priorities() -> None:
    vcpu = timer()
    write(vcpu, TPR, 0x40)
    write(vcpu, INITIAL_COUNT, SHORT)
    ends(vcpu)
    assert interrupt_taken(vcpu) is None
    assert requested(vcpu) == {VECTOR}
    write(vcpu, TPR, 0)
    assert interrupt_taken(vcpu) == VECTOR


def test_init_stops_it(memory: x86.Memory) -> None:
    vcpu = enabled(memory=memory, index=1)
    write(vcpu, LVT_TIMER, PERIODIC | VECTOR)
    write(vcpu, INITIAL_COUNT, LONG)
    vcpu.init()
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    assert (shown(vcpu, INITIAL_COUNT), shown(vcpu, CURRENT_COUNT)) == (0, 0)


# The mask.


def test_masked_it_counts_and_interrupts_nobody() -> None:
    vcpu = timer(MASKED)
    write(vcpu, INITIAL_COUNT, SHORT)
    ends(vcpu)
    assert requested(vcpu) == set()
    write(vcpu, LVT_TIMER, VECTOR)
    assert interrupt_taken(vcpu) is None, "it was masked when it was due"


RACE = """
        mov edi, 0xFEE00000
        mov dword ptr [edi + 0x380], 20000
    wait:
        cmp dword ptr [edi + 0x390], 0
        jne wait
        {action}
        mov eax, [edi + 0x220]
        sti
        nop
        hlt
"""


@pytest.mark.parametrize(
    "action",
    [
        "nop",
        "mov dword ptr [edi + 0x380], 0x7FFFFFFF",  # the next count
        "mov dword ptr [edi + 0x380], 0",
        "mov dword ptr [edi + 0x320], 0x10041",  # masked
        "mov dword ptr [edi + 0x320], 0x42",  # another vector
        "mov dword ptr [edi + 0x320], 0x40041",  # another mode
        "mov dword ptr [edi + 0xF0], 0xFF; mov dword ptr [edi + 0xF0], 0x1FF",
        "mov ecx, 0x10; xor eax, eax; cdq; wrmsr",  # the TSC
    ],
)
def test_once_it_was_due_nothing_takes_its_interrupt_back(action: str) -> None:
    """It stands in IRR from the moment in which the count is 0."""
    vcpu = timer(source=RACE.format(action=action))
    assert interrupt_taken_by(vcpu) == VECTOR
    assert vcpu.eax & 1 << (VECTOR & 31)


def test_once_it_was_due_masked_no_unmasking_brings_its_interrupt() -> None:
    vcpu = timer(MASKED, RACE.format(action="mov dword ptr [edi + 0x320], 0x41"))
    assert interrupt_taken_by(vcpu) is None
    assert vcpu.eax == 0


def test_unmasked_before_its_end_it_interrupts() -> None:
    source = """
        mov edi, 0xFEE00000
        mov dword ptr [edi + 0x380], 3000000
        mov dword ptr [edi + 0x320], 0x41
    wait:
        cmp dword ptr [edi + 0x390], 0
        jne wait
        sti
        nop
        hlt
    """
    assert interrupt_taken_by(timer(MASKED, source)) == VECTOR


def interrupt_taken_by(vcpu: x86.VCPU) -> int | None:
    """The vector that the guest takes before its HLT, as it allows interrupts itself."""
    assert run(vcpu) == "EXIT_HLT"
    return vcpu.last_event if vcpu.stats["irq_injections"] else None


def test_unmasking_a_periodic_timer_lets_its_next_interrupt_in() -> None:
    vcpu = timer(MASKED | PERIODIC)
    write(vcpu, INITIAL_COUNT, 200_000)
    began = tsc(vcpu)
    wait_until(lambda: tsc(vcpu) > began + 500_000, "two periods")
    assert read(vcpu, IRR + 0x20) == 0
    write(vcpu, LVT_TIMER, PERIODIC | VECTOR)
    wait_until(lambda: read(vcpu, IRR + 0x20) != 0, "the next period")
    assert interrupt_taken(vcpu) == VECTOR


def test_disabled_by_software_it_does_not_interrupt() -> None:
    vcpu = timer()
    write(vcpu, SVR, 0xFF)
    write(vcpu, INITIAL_COUNT, SHORT)
    ends(vcpu)
    write(vcpu, SVR, ENABLED | 0xFF)
    assert interrupt_taken(vcpu) is None
