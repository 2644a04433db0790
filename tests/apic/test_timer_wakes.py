"""A timer that comes due while its vCPU is idle: in the core, and out of run()."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import pytest

import x86core as x86
from tests.apic.local_apic import (
    BY_1,
    DEADLINE,
    DIVIDE,
    INITIAL_COUNT,
    LVT_TIMER,
    MASKED,
    ONE_SHOT,
    PERIODIC,
    SVR,
    TPR,
    TSC_DEADLINE,
    enabled,
    in_service,
    interrupt_taken,
    tsc,
    write,
    wrmsr,
)
from tests.apic.timer_guest import VECTOR
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    PATIENCE,
    Event,
    Running,
    delivered,
    gate,
    run,
    set_gate,
    wait_until,
)

#: Nanoseconds: enough for what a test does before, on a host with little time.
SOON = 60_000_000

HALTS = "sti; again: hlt; jmp again"
WAITS = f"""
        sti
    again:
        mov eax, {DATA}
        xor ecx, ecx
        monitor
        mwait
        jmp again
"""


def readable(vcpu: x86.VCPU, seconds: float = 0) -> bool:
    return bool(select.select([vcpu.wake_fd], [], [], seconds)[0])


def arm(vcpu: x86.VCPU, mode: int = ONE_SHOT, nanoseconds: int = SOON) -> int:
    """Have the timer interrupt with VECTOR; the TSC from which on it may."""
    write(vcpu, DIVIDE, BY_1)
    write(vcpu, LVT_TIMER, mode | VECTOR)
    due = tsc(vcpu) + nanoseconds
    if mode == TSC_DEADLINE:
        wrmsr(vcpu, DEADLINE, due)
    else:
        write(vcpu, INITIAL_COUNT, nanoseconds)
    return due


def handled(vcpu: x86.VCPU) -> bool:
    """Whether a run on a thread of its own, without anybody's help, ends in the handler."""
    vcpu.memory.write(0x3000 + VECTOR, b"\xe6\x80")  # OUT: an exit
    with Running(vcpu) as running:
        return running.exit() == "EXIT_IO" and vcpu.eip == 0x3000 + VECTOR


def passed_through(vcpu: x86.VCPU) -> None:
    vcpu.disable_exits = x86.DISABLE_EXITS_HLT | x86.DISABLE_EXITS_MWAIT


def polled(vcpu: x86.VCPU) -> None:
    vcpu.hlt_policy = x86.HLT_POLL
    vcpu.halt_poll_ns_grow_start = vcpu.halt_poll_ns


# In the core.


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC, TSC_DEADLINE])
@pytest.mark.parametrize("way", [None, polled, passed_through])
def test_a_halted_vcpu_wakes_by_itself(mode: int, way: Callable[[x86.VCPU], None] | None) -> None:
    vcpu = enabled(HALTS)
    vcpu.userspace_exits = 0
    if way is not None:
        way(vcpu)
    due = arm(vcpu, mode, 2_000_000)
    assert handled(vcpu)
    assert tsc(vcpu) >= due
    assert vcpu.stats["halt_exits"] == 1
    assert in_service(vcpu) == {VECTOR}


@pytest.mark.parametrize("policy", range(7))
@pytest.mark.parametrize("way", [None, passed_through])
def test_mwait_wakes_by_itself(policy: int, way: Callable[[x86.VCPU], None] | None) -> None:
    """Under every policy, those included that do not wait."""
    vcpu = enabled(WAITS)
    vcpu.mwait_policy = policy
    if way is not None:
        way(vcpu)
    due = arm(vcpu, ONE_SHOT, 2_000_000)
    assert handled(vcpu)
    assert tsc(vcpu) >= due


def test_every_period_wakes() -> None:
    """The guest sleeps again and again, and no wake is before its time."""
    handler = "mov edi, 0xFEE000B0; mov [edi], eax; rdtsc; out 0x80, al; iret"
    vcpu = enabled(f"{HALTS}; .org 0x80; {handler}")
    set_gate(vcpu.memory, VECTOR, gate(CODE + 0x80))
    vcpu.userspace_exits = 0
    due = arm(vcpu, PERIODIC, 1_000_000)
    for number in range(5):
        with Running(vcpu) as running:
            assert running.exit() == "EXIT_IO"
        assert vcpu.edx << 32 | vcpu.eax >= due + number * 1_000_000


HALT_LOOP = """
        mov edi, 0xFEE00000
    next:
        cli
        mov dword ptr [edi + 0x380], 20000
        sti
        hlt
        dec ebp
        jnz next
        cli
        out 0x80, al
    .org 0x80
        inc esi
        mov dword ptr [edi + 0xB0], 0
        iret
"""
#: As Linux idles: MONITOR, look again, STI; MWAIT.
MWAIT_LOOP = f"""
        mov edi, 0xFEE00000
    next:
        mov ebx, esi
        mov dword ptr [edi + 0x380], 20000
    idle:
        mov eax, {DATA}
        monitor
        cli
        cmp ebx, esi
        jne done
        sti
        mwait
        jmp idle
    done:
        sti
        dec ebp
        jnz next
        cli
        out 0x80, al
    .org 0x80
        inc esi
        mov dword ptr [edi + 0xB0], 0
        iret
"""


@pytest.mark.parametrize(
    ("source", "policy", "way"),
    [
        (HALT_LOOP, x86.MWAIT_NOP, None),
        (HALT_LOOP, x86.MWAIT_NOP, polled),
        (HALT_LOOP, x86.MWAIT_NOP, passed_through),
        (MWAIT_LOOP, x86.MWAIT_FAULT, None),
        (MWAIT_LOOP, x86.MWAIT_SCAN, None),
        (MWAIT_LOOP, x86.MWAIT_ADAPTIVE, None),
        (MWAIT_LOOP, x86.MWAIT_HALT, None),
        (MWAIT_LOOP, x86.MWAIT_NOP, passed_through),
    ],
    ids=["block", "poll", "hlt passthrough", "fault", "scan", "adaptive", "halt", "passthrough"],
)
def test_no_timer_is_lost(source: str, policy: int, way: Callable[[x86.VCPU], None] | None) -> None:
    """Hundreds of short sleeps, each ended by its own timer: a lost one would end the test."""
    vcpu = enabled(source)
    set_gate(vcpu.memory, VECTOR, gate(CODE + 0x80))
    vcpu.userspace_exits, vcpu.mwait_policy = 0, policy
    if way is not None:
        way(vcpu)
    write(vcpu, DIVIDE, BY_1)
    write(vcpu, LVT_TIMER, VECTOR)
    vcpu.ebp, vcpu.esi, vcpu.ecx = 300, 0, 0
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_IO"
    assert vcpu.esi == 300


def test_on_the_main_thread_which_looks_for_signals() -> None:
    """There a sleep is cut into slices."""
    vcpu = enabled(HALTS)
    vcpu.memory.write(0x3000 + VECTOR, b"\xe6\x80")
    vcpu.userspace_exits = 0
    arm(vcpu, ONE_SHOT, 120_000_000)
    assert vcpu.run() == x86.EXIT_IO


@pytest.mark.parametrize("extensions", [0, 1])
def test_a_masked_interrupt_and_mwait(extensions: int) -> None:
    """With ECX[0] the due timer ends it, undelivered; without, something else must."""
    source = f"mov eax, {DATA}; monitor; mov ecx, {extensions}; mwait; mov ecx, 0; hlt"
    vcpu = enabled(f"xor ecx, ecx; {source}")
    vcpu.mwait_policy = x86.MWAIT_FAULT
    due = arm(vcpu, ONE_SHOT, 2_000_000)
    with Running(vcpu) as running:
        if not extensions:
            running.asleep("mwait")
            time.sleep(0.01)
            assert vcpu.waiting == "mwait"
            vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 0
    assert vcpu.stats["wakes_store"] == (not extensions)
    assert tsc(vcpu) >= due
    assert interrupt_taken(vcpu) == VECTOR


MASKS = ["flag", "priority", "entry", "software disable"]


def arm_in_vain(vcpu: x86.VCPU, mask: str) -> None:
    """A periodic timer whose interrupt cannot be taken, for one of these reasons alone."""
    if mask != "flag":
        vcpu.eflags |= FLAG_IF
    if mask == "priority":
        write(vcpu, TPR, 0x40)
    if mask == "software disable":
        write(vcpu, SVR, 0xFF)
    arm(vcpu, PERIODIC | (MASKED if mask == "entry" else 0), 100_000)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("waiting", ["hlt", "mwait"])
def test_what_is_masked_neither_wakes_nor_costs(mask: str, waiting: str) -> None:
    """A periodic timer whose interrupt cannot be taken: the thread sleeps through its periods."""
    vcpu = enabled(f"again: mov eax, {DATA}; monitor; {waiting}; jmp again")
    vcpu.ecx, vcpu.mwait_policy = 0, x86.MWAIT_FAULT
    vcpu.userspace_exits = 0
    arm_in_vain(vcpu, mask)
    with Running(vcpu) as running:
        running.asleep(waiting)
        before = running.cpu_time()
        time.sleep(0.05)
        assert running.cpu_time() - before < 0.005
        assert vcpu.waiting == waiting
    assert vcpu.stats["irq_injections"] == 0


# Out of run().


@pytest.mark.parametrize("mode", [ONE_SHOT, PERIODIC, TSC_DEADLINE])
@pytest.mark.parametrize("watched", ["before", "after"])
def test_a_timer_that_comes_due_out_of_run(mode: int, watched: str) -> None:
    """It makes wake_fd readable and the vCPU runnable, and is delivered at the next run()."""
    vcpu = enabled("sti; hlt")
    if watched == "before":
        assert readable(vcpu)
    arm(vcpu, mode)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.mp_state, readable(vcpu)) == (x86.MP_STATE_HALTED, False)
    assert readable(vcpu, PATIENCE)
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + 2)


def test_mp_state_alone_will_do() -> None:
    """Who polls it, without wake_fd, misses no timer (the thread's follow-ups)."""
    vcpu = enabled("sti; hlt")
    arm(vcpu)
    assert run(vcpu) == "EXIT_HLT"
    wait_until(lambda: vcpu.mp_state == x86.MP_STATE_RUNNABLE, "the timer")
    assert interrupt_taken(vcpu) == VECTOR


def test_each_period_out_of_run() -> None:
    vcpu = enabled(HALTS)
    vcpu.memory.write(0x3000 + VECTOR, b"\xc7\x05\xb0\x00\xe0\xfe\0\0\0\0\xcf")  # EOI; IRET
    arm(vcpu, PERIODIC, 1_000_000)
    for _ in range(5):
        assert run(vcpu) == "EXIT_HLT"
        assert readable(vcpu, PATIENCE)
    assert vcpu.stats["irq_injections"] >= 4


@pytest.mark.parametrize("mask", MASKS)
def test_what_is_masked_makes_nobody_runnable(mask: str) -> None:
    """Readable exactly while runnable: run() would wait."""
    vcpu = enabled("hlt")
    arm_in_vain(vcpu, mask)
    assert readable(vcpu)
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu, 0.02)
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 0


def test_allowing_interrupts_from_outside_lets_a_due_timer_in() -> None:
    vcpu = enabled("hlt")
    arm(vcpu, ONE_SHOT, 1000)
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu, 0.005)
    vcpu.eflags |= FLAG_IF
    assert readable(vcpu, PATIENCE)
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert interrupt_taken(vcpu) == VECTOR


def test_a_timer_that_comes_due_between_two_runs_of_a_running_guest() -> None:
    """It is taken before the next instruction."""
    vcpu = enabled("sti; nop; out 0x80, al; again: jmp again")
    assert run(vcpu) == "EXIT_IO"
    arm(vcpu, ONE_SHOT, 1000)
    time.sleep(0.001)
    assert interrupt_taken(vcpu) == VECTOR
    assert delivered(vcpu) == Event(VECTOR, CODE + 2)
