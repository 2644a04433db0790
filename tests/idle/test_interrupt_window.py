"""request_interrupt_window: it reaches a vCPU that waits, and waits itself for IF."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

import x86core as x86
from tests.apic.local_apic import (
    APIC_BASE,
    ENABLED,
    LVT_LINT0,
    MASKED,
    PAGE,
    SVR,
    enabled,
    write,
    wrmsr,
)
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    MWAIT_LOOP,
    MWAIT_WAITS,
    SETTLE,
    VECTOR,
    looping,
    mwait_guest,
    readable,
    set_hlt,
    set_mwait,
)
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    PATIENCE,
    Running,
    flat32,
    run,
    wait_until,
    waiter,
)

EXTINT = 0x700


@pytest.mark.parametrize("name", HLT_WAITS)
def test_it_reaches_a_vcpu_in_hlt_which_stays_halted(name: str) -> None:
    vcpu = looping(HLT_LOOP, hlt=name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.request_interrupt_window = 1
        assert running.exit() == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert vcpu.kvm_run["ready_for_interrupt_injection"] == vcpu.kvm_run["if_flag"] == 1
    assert vcpu.stats["irq_window_exits"] == 1
    vcpu.request_interrupt_window = 0
    retired = vcpu.instructions
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.instructions == retired


@pytest.mark.parametrize("name", MWAIT_WAITS)
def test_it_reaches_a_vcpu_in_mwait_which_goes_on(name: str) -> None:
    vcpu = mwait_guest(name, flags=FLAG_IF)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.request_interrupt_window = 1
        assert running.exit() == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.stats["wakes_store"] == vcpu.stats["wakes_interrupt"] == 0
    vcpu.request_interrupt_window = 0
    assert run(vcpu) == "EXIT_HLT"


def test_stored_raw_it_counts_from_the_next_entry() -> None:
    vcpu = looping(HLT_LOOP, hlt="exit")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.kvm_run["request_interrupt_window"] = 1
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    vcpu.kvm_run["immediate_exit"] = 1
    assert run(vcpu) == "EXIT_INTR", "which wins"
    vcpu.kvm_run["request_interrupt_window"] = vcpu.kvm_run["immediate_exit"] = 0
    assert run(vcpu) == "EXIT_HLT"


@pytest.mark.parametrize(("instruction", "names"), [("hlt", HLT_WAITS), ("mwait", MWAIT_WAITS)])
def test_with_interrupts_off_it_waits(instruction: str, names: tuple[str, ...]) -> None:
    """Only IF opens the window, so nothing wakes a guest that does not allow interrupts."""
    source = f"{'hlt' if instruction == 'hlt' else MWAIT_LOOP.replace('sti', 'cli')}; sti; nop; nop"
    for name in names:
        vcpu = looping(source)
        (set_hlt if instruction == "hlt" else set_mwait)(vcpu, name)
        with Running(vcpu) as running:
            running.asleep(instruction)
            vcpu.request_interrupt_window = 1
            time.sleep(SETTLE)
            assert vcpu.waiting == instruction, name


def test_the_window_opens_behind_the_shadow_of_sti() -> None:
    vcpu = looping("hlt; sti; nop; nop; again: jmp again")
    vcpu.request_interrupt_window = 1
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.nmi()
        assert running.exit() == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.memory.read(vcpu.eip - 1, 2) == b"\x90\x90", "one instruction behind STI"


def test_a_running_guest_leaves_as_soon_as_it_allows_interrupts() -> None:
    vcpu = flat32(
        f"again: inc dword ptr [{DATA}]; cmp dword ptr [{DATA + 64}], 0; je again; sti; hlt"
    )
    with Running(vcpu) as running:
        wait_until(lambda: vcpu.memory.read(DATA, 4) != bytes(4), "the loop")
        vcpu.request_interrupt_window = 1
        time.sleep(SETTLE)
        vcpu.userspace_exits = 0
        vcpu.memory.write(DATA + 64, b"\1")
        assert running.exit() == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.mp_state == x86.MP_STATE_HALTED, "STI; HLT: in its shadow HLT begins"


def test_an_interrupt_comes_before_the_window() -> None:
    """As long as one is pending the guest takes it; then it is ready for the next."""
    vcpu = looping(HLT_LOOP)
    vcpu.request_interrupt_window = 1
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.stats["irq_injections"] == 1


def test_a_request_that_is_taken_back_in_time() -> None:
    vcpu = looping("hlt; sti; again: jmp again")
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.request_interrupt_window = 1
        vcpu.request_interrupt_window = 0
        vcpu.nmi()
        wait_until(lambda: vcpu.instructions > 10, "the loop")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"


def test_immediate_exit_set_and_cleared_is_never_taken_for_a_window() -> None:
    """Whoever wakes a halted vCPU and takes it back at once: it leaves, or stays, and says why."""
    vcpu = looping(HLT_LOOP)
    reasons: Counter[int] = Counter()
    over = threading.Event()

    def enter() -> None:
        while not over.is_set():
            reasons[vcpu.run()] += 1

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while reasons.total() < 500 and time.monotonic() < deadline:
        for _ in range(20):
            vcpu.immediate_exit = 1
            vcpu.immediate_exit = 0
        time.sleep(0)
    over.set()
    vcpu.kick()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert set(reasons) == {x86.EXIT_INTR}, reasons


# LINT0: an interrupt that it does not let in opens no window (KVM's kvm_apic_accept_pic_intr).


@pytest.mark.parametrize("entry", [MASKED | EXTINT, 0x45])
def test_while_lint0_is_closed_no_window_opens(entry: int) -> None:
    vcpu = enabled("sti; again: jmp again")
    write(vcpu, LVT_LINT0, entry)
    vcpu.request_interrupt_window = 1
    assert vcpu.run(1000) == x86.EXIT_LIMIT
    assert vcpu.kvm_run["ready_for_interrupt_injection"] == 0
    write(vcpu, LVT_LINT0, EXTINT)
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.kvm_run["ready_for_interrupt_injection"] == 1


def test_a_guest_that_opens_lint0_leaves_at_once() -> None:
    vcpu = enabled("sti; mov [edi], eax; again: jmp again")
    write(vcpu, LVT_LINT0, MASKED | EXTINT)
    vcpu.edi, vcpu.eax = PAGE + LVT_LINT0, EXTINT
    vcpu.request_interrupt_window = 1
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    assert vcpu.eip == CODE + 3


@pytest.mark.parametrize("name", HLT_WAITS)
def test_a_halted_vcpu_sleeps_on_while_lint0_is_closed(name: str) -> None:
    vcpu = enabled(HLT_LOOP)
    write(vcpu, LVT_LINT0, MASKED | EXTINT)
    set_hlt(vcpu, name)
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.request_interrupt_window = 1
        time.sleep(SETTLE)
        assert vcpu.waiting == "hlt"
        assert not readable(vcpu.wake_fd)


def test_without_an_apic_the_window_is_that_of_if_alone() -> None:
    vcpu = enabled("sti; again: jmp again")
    write(vcpu, LVT_LINT0, MASKED)
    wrmsr(vcpu, APIC_BASE, PAGE)
    vcpu.request_interrupt_window = 1
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"


# MWAIT with ECX[0] = 1 wakes for a masked interrupt; one that the VMM holds back is such, too.


@pytest.mark.parametrize("name", MWAIT_WAITS)
def test_it_ends_an_mwait_that_masked_interrupts_wake(name: str) -> None:
    """The guest goes on with interrupts off; the window opens once it allows them."""
    vcpu = waiter("cli", extensions=1)
    set_mwait(vcpu, name)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.request_interrupt_window = 1
        assert running.exit() == "EXIT_HLT"
    assert not vcpu.eflags & FLAG_IF
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    vcpu.memory.write(vcpu.eip, b"\xfb\x90\xf4")  # STI; NOP; HLT
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"


@pytest.mark.parametrize(("extensions", "entry"), [(0, EXTINT), (1, MASKED | EXTINT)])
def test_it_leaves_other_mwaits_alone(extensions: int, entry: int) -> None:
    for name in MWAIT_WAITS:
        vcpu = waiter("cli", extensions=extensions)
        write(vcpu, SVR, ENABLED | 0xFF)
        write(vcpu, LVT_LINT0, entry)
        set_mwait(vcpu, name)
        with Running(vcpu) as running:
            running.asleep("mwait")
            vcpu.request_interrupt_window = 1
            time.sleep(SETTLE)
            assert vcpu.waiting == "mwait", name
