"""wake_fd: readable exactly while the vCPU is runnable, in every state that it can be in."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import selectors
import threading
from collections.abc import Callable

import pytest

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    IRET,
    MWAIT_LOOP,
    MWAIT_WAITS,
    MWAIT_WOKEN_BY_STORE,
    VECTOR,
    await_count,
    leave_by_signal,
    looping,
    mwait_guest,
    readable,
)
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    HANDLERS,
    PATIENCE,
    Running,
    assembled,
    flat32,
    real16,
    run,
    wait_until,
)

#: The local APIC's timer in one-shot mode, a nanosecond for each count (SDM vol. 3, 11.5.4).
START_TIMER = """
    mov dword ptr [0xFEE000F0], 0x1FF
    mov dword ptr [0xFEE003E0], 0xB
    mov dword ptr [0xFEE00320], 0x40
    mov dword ptr [0xFEE00380], %d
"""
SOON = 20 * 10**6
NEVER = 2**32 - 1


def halted(source: str = HLT_LOOP) -> x86.VCPU:
    """A vCPU out of run() with mp_state HALTED."""
    vcpu = flat32(source)
    assert run(vcpu) == "EXIT_HLT"
    return vcpu


# States out of run().


def test_of_a_fresh_bootstrap_processor(memory: x86.Memory) -> None:
    assert readable(x86.VCPU(memory).wake_fd)


def test_of_a_fresh_application_processor(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory, index=1)
    assert vcpu.mp_state == x86.MP_STATE_UNINITIALIZED
    assert not readable(vcpu.wake_fd)
    vcpu.interrupt(VECTOR)
    vcpu.nmi()
    assert not readable(vcpu.wake_fd), "only a start-up IPI, or INIT, is for it"


def test_of_an_application_processor_with_a_start_up_ipi() -> None:
    vcpu = real16("hlt", index=1)
    vcpu.reset()
    descriptor = vcpu.wake_fd
    vcpu.sipi(CODE + 0x1000 >> 12)
    assert readable(descriptor)
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(descriptor)
    vcpu.sipi(0)
    assert not readable(descriptor), "it is started already"


def test_of_an_application_processor_that_was_kicked(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory, index=1)
    vcpu.kick()
    assert readable(vcpu.wake_fd)
    assert run(vcpu) == "EXIT_INTR"
    assert not readable(vcpu.wake_fd)


@pytest.mark.parametrize("event", ["interrupt", "nmi", "kick", "immediate_exit"])
def test_of_a_halted_vcpu(event: str) -> None:
    vcpu = halted()
    descriptor = vcpu.wake_fd
    assert not readable(descriptor)
    if event == "interrupt":
        vcpu.interrupt(VECTOR)
    elif event == "immediate_exit":
        vcpu.immediate_exit = 1
    else:
        getattr(vcpu, event)()
    assert readable(descriptor)
    consumes = {"kick": "EXIT_INTR", "immediate_exit": "EXIT_INTR"}
    assert run(vcpu) == consumes.get(event, "EXIT_HLT")
    if event == "immediate_exit":
        assert readable(descriptor), "as long as it is set"
        vcpu.immediate_exit = 0
    assert not readable(descriptor)


def test_of_a_halted_vcpu_whose_interrupts_are_masked() -> None:
    vcpu = halted("cli; hlt")
    vcpu.interrupt(VECTOR)
    vcpu.request_interrupt_window = 1
    assert not readable(vcpu.wake_fd)
    vcpu.request_interrupt_window = 0
    vcpu.eflags |= FLAG_IF
    assert readable(vcpu.wake_fd)
    vcpu.eflags &= ~FLAG_IF
    assert not readable(vcpu.wake_fd)


def test_of_a_halted_vcpu_whose_window_is_requested() -> None:
    """run() returns EXIT_IRQ_WINDOW_OPEN at once, so there is something to do."""
    vcpu = halted()
    vcpu.request_interrupt_window = 1
    assert readable(vcpu.wake_fd)
    assert run(vcpu) == "EXIT_IRQ_WINDOW_OPEN"
    vcpu.request_interrupt_window = 0
    assert not readable(vcpu.wake_fd)


def test_an_nmi_within_an_nmi() -> None:
    vcpu = halted()
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT", "the handler's"
    vcpu.nmi()
    assert not readable(vcpu.wake_fd), "blocked until IRET"


def test_of_a_vcpu_that_the_vmm_puts_into_a_state() -> None:
    vcpu = flat32("sti; nop; hlt")
    descriptor = vcpu.wake_fd
    for state, expected in [
        (x86.MP_STATE_HALTED, False),
        (x86.MP_STATE_RUNNABLE, True),
        (x86.MP_STATE_UNINITIALIZED, False),
        (x86.MP_STATE_INIT_RECEIVED, False),
        (x86.MP_STATE_RUNNABLE, True),
    ]:
        vcpu.mp_state = state
        assert readable(descriptor) == expected, state


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("start", ["reset", "start_real_mode", "start_flat32"])
def test_of_a_vcpu_that_begins_anew(index: int, start: str) -> None:
    vcpu = flat32("hlt", index=index)
    assert run(vcpu) == "EXIT_HLT"
    descriptor = vcpu.wake_fd
    assert not readable(descriptor)
    getattr(vcpu, start)()
    assert vcpu.wake_fd == descriptor
    assert readable(descriptor) == (start != "reset" or index == 0)


def test_a_kick_outlives_reset() -> None:
    vcpu = flat32("hlt", index=1)
    vcpu.kick()
    vcpu.reset()
    assert readable(vcpu.wake_fd)
    assert run(vcpu) == "EXIT_INTR"
    assert not readable(vcpu.wake_fd)


def test_exits_that_leave_it_runnable(memory: x86.Memory) -> None:
    vcpu = mwait_guest("exit", "out 0x80, al", memory=memory)
    assert run(vcpu) == "EXIT_IO"
    assert readable(vcpu.wake_fd)
    assert run(vcpu) == "EXIT_MWAIT"
    assert readable(vcpu.wake_fd)


# Inside run().


def test_of_a_vcpu_that_runs() -> None:
    vcpu = flat32("again: jmp again")
    descriptor = vcpu.wake_fd
    with Running(vcpu):
        wait_until(lambda: vcpu.instructions > 0, "instructions")
        assert readable(descriptor)
    assert readable(descriptor)


@pytest.mark.parametrize("name", MWAIT_WAITS)
@pytest.mark.parametrize("opened", ["before", "during"])
def test_of_a_vcpu_in_mwait(name: str, opened: str) -> None:
    vcpu = looping(MWAIT_LOOP, mwait=name)
    if opened == "before":
        assert readable(vcpu.wake_fd)
    with Running(vcpu) as running:
        for turn in range(1, 4):
            await_count(vcpu, "mwait_waits", turn)
            running.asleep("mwait")
            wait_until(lambda: not readable(vcpu.wake_fd), "unreadable")
            assert vcpu.waiting == "mwait"
            vcpu.interrupt(VECTOR)
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert readable(vcpu.wake_fd), "MWAIT is over"


@pytest.mark.parametrize("name", HLT_WAITS)
@pytest.mark.parametrize("opened", ["before", "during"])
def test_of_a_vcpu_in_hlt(name: str, opened: str) -> None:
    vcpu = looping(HLT_LOOP, hlt=name)
    if opened == "before":
        assert readable(vcpu.wake_fd)
    with Running(vcpu) as running:
        for turn in range(1, 4):
            await_count(vcpu, "halt_exits", turn)
            running.asleep("hlt")
            wait_until(lambda: not readable(vcpu.wake_fd), "unreadable")
            assert vcpu.waiting == "hlt"
            vcpu.interrupt(VECTOR)
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"


@pytest.mark.parametrize("name", MWAIT_WAITS)
def test_of_a_wait_that_was_left_by_a_signal(name: str) -> None:
    """The wait goes on without anybody inside run(); what ends it makes the descriptor readable."""
    vcpu = mwait_guest(name, flags=FLAG_IF)
    leave_by_signal(vcpu)
    descriptor = vcpu.wake_fd
    assert not readable(descriptor)
    if name in MWAIT_WOKEN_BY_STORE and name != "scan":
        vcpu.memory.write(DATA, b"\1")
    else:
        vcpu.interrupt(VECTOR)
    assert readable(descriptor)
    assert run(vcpu) == "EXIT_HLT"


def test_a_slice_that_ends_while_nobody_is_in_run() -> None:
    vcpu = mwait_guest("timer")
    vcpu.mwait_timer_ns = 300 * 10**6
    descriptor = vcpu.wake_fd
    leave_by_signal(vcpu)
    assert readable(descriptor, PATIENCE)
    assert run(vcpu) == "EXIT_HLT"


def test_of_a_vcpu_that_waits_to_be_started() -> None:
    vcpu = real16("hlt", index=1)
    vcpu.reset()
    with Running(vcpu) as running:
        running.asleep("start")
        wait_until(lambda: not readable(vcpu.wake_fd), "unreadable")
        vcpu.interrupt(VECTOR)
        assert not readable(vcpu.wake_fd)
        vcpu.sipi(CODE + 0x1000 >> 12)
        assert running.exit() == "EXIT_HLT"
    assert not readable(vcpu.wake_fd)


def test_of_the_next_vcpu_with_the_same_number(memory: x86.Memory) -> None:
    vcpu = flat32("hlt", memory=memory)
    descriptor = vcpu.wake_fd
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(descriptor)
    del vcpu
    vcpu = x86.VCPU(memory)
    assert vcpu.wake_fd == descriptor
    assert readable(descriptor)


# Deadlines.


def test_a_timer_of_the_apic_that_comes_due() -> None:
    vcpu = flat32(f"{START_TIMER % SOON} sti; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert readable(vcpu.wake_fd, PATIENCE), "nobody is in run() to look at the clock"
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 1
    assert not readable(vcpu.wake_fd)


def test_a_periodic_timer() -> None:
    """Each time that the descriptor is readable there is an interrupt to take."""
    periodic = START_TIMER.replace("], 0x40", "], 0x20040") % (5 * 10**6)
    vcpu = flat32(f"{periodic} {HLT_LOOP}")
    end_of_interrupt = assembled("mov dword ptr [0xFEE000B0], 0; iret", HANDLERS + VECTOR, 32)
    vcpu.memory.write(HANDLERS + VECTOR, end_of_interrupt)
    assert run(vcpu) == "EXIT_HLT"
    for _ in range(10):
        taken = vcpu.stats["irq_injections"]
        assert readable(vcpu.wake_fd, PATIENCE)
        assert run(vcpu) == "EXIT_HLT"
        assert vcpu.stats["irq_injections"] > taken


@pytest.mark.parametrize(
    "why", ["cli", "mov dword ptr [0xFEE00080], 0x40", "mov dword ptr [0xFEE00320], 0x10040"]
)
def test_a_timer_whose_interrupt_is_not_taken(why: str) -> None:
    """Interrupts off, the task's priority as high as the interrupt's, the timer masked."""
    vcpu = flat32(f"{START_TIMER % SOON} sti; {why}; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu.wake_fd, 2 * SOON / 1e9)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == 0


def test_a_sleeper_whose_timer_is_not_taken_burns_no_cpu() -> None:
    vcpu = flat32(f"{START_TIMER % 1} cli; hlt")
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        running.asleep("hlt")
        before = running.cpu_time()
        assert not readable(vcpu.wake_fd, 0.1)
        assert running.cpu_time() - before < 0.002


def test_a_timer_that_is_stopped_before_it_is_due() -> None:
    """The descriptor follows: an old deadline is forgotten at the next stop."""
    vcpu = flat32(
        f"{START_TIMER % NEVER} sti; hlt; mov dword ptr [0xFEE00380], {SOON}; hlt"
        f"; mov dword ptr [0xFEE00380], 0; hlt"
    )
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu.wake_fd)
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert not readable(vcpu.wake_fd, 2 * SOON / 1e9)


# Ways to look at it.


def by_select(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], PATIENCE)[0])


def by_poll(descriptor: int) -> bool:
    return readable(descriptor, PATIENCE)


def by_epoll(descriptor: int) -> bool:
    with select.epoll() as poll:
        poll.register(descriptor, select.EPOLLIN)
        return bool(poll.poll(PATIENCE))


def by_edge(descriptor: int) -> bool:
    with select.epoll() as poll:
        poll.register(descriptor, select.EPOLLIN | select.EPOLLET)
        return bool(poll.poll(PATIENCE))


def by_selectors(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(PATIENCE))


def by_asyncio(descriptor: int) -> bool:
    async def wait() -> bool:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, woken.set)
        try:
            return await asyncio.wait_for(woken.wait(), PATIENCE)
        finally:
            loop.remove_reader(descriptor)

    return asyncio.run(wait())


@pytest.mark.parametrize("look", [by_select, by_poll, by_epoll, by_edge, by_selectors, by_asyncio])
def test_every_way_to_wait_for_a_descriptor(look: Callable[[int], bool]) -> None:
    """The interrupt comes from another thread, while this one waits."""
    vcpu = halted()
    vcpu.memory.write(HANDLERS + VECTOR, IRET)
    descriptor = vcpu.wake_fd
    for _ in range(5):
        assert not readable(descriptor)
        waker = threading.Timer(0.005, vcpu.interrupt, (VECTOR,))
        waker.start()
        assert look(descriptor)
        waker.join()
        assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
        assert run(vcpu) == "EXIT_HLT"


def test_one_loop_for_many_vcpus(memory: x86.Memory) -> None:
    """asyncio runs four halted vCPUs on one thread; each wakes the next one."""
    vcpus = [
        flat32("again: sti; hlt; inc ecx; jmp again", memory=memory, index=n) for n in range(4)
    ]
    memory.write(HANDLERS + VECTOR, IRET)

    async def run_all() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def step(vcpu: x86.VCPU) -> None:
            assert run(vcpu) == "EXIT_HLT"
            following = vcpus[(vcpu.index + 1) % len(vcpus)]
            if following.ecx < 10:
                following.interrupt(VECTOR)
            else:
                done.set()

        for vcpu in vcpus:
            vcpu.ecx = 0
            assert run(vcpu) == "EXIT_HLT"
            loop.add_reader(vcpu.wake_fd, step, vcpu)
        vcpus[0].interrupt(VECTOR)
        await asyncio.wait_for(done.wait(), PATIENCE)
        for vcpu in vcpus:
            loop.remove_reader(vcpu.wake_fd)

    asyncio.run(run_all())
    assert [vcpu.ecx for vcpu in vcpus] == [10] * 4


def test_it_is_not_inherited_and_goes_with_the_memory() -> None:
    vcpu = halted()
    descriptor = vcpu.wake_fd
    assert not os.get_inheritable(descriptor)
    os.fstat(descriptor)
    del vcpu
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_descriptor_left() -> None:
    vcpu = halted()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    try:
        for left in (0, 1, 2):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + left, limits[1]))
            with pytest.raises(OSError, match="vCPU 0"):
                _ = vcpu.wake_fd
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not readable(vcpu.wake_fd), "and later there are some"
