"""Two threads, and often the descriptor between them: no wake is lost, in thousands of rounds.

The runner sleeps nowhere but in poll(wake_fd). Each round the waker asks for something and then
waits until it has happened, so a lost wake is a hang, and the test fails with the state it is in.
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    MWAIT_LOOP,
    MWAIT_WAITS,
    VECTOR,
    looping,
    mwait_guest,
    set_hlt,
    set_mwait,
)
from tests.support import (
    CODE,
    DATA,
    HANDLERS,
    PATIENCE,
    Running,
    assembled,
    flat32,
    run,
    wait_until,
)

ROUNDS = 20_000
KICKS = 400

#: The handler counts the interrupts that were taken.
COUNTING = f"inc dword ptr [{DATA}]; iret"


class PollingRunner:
    """A thread that runs a vCPU and, after each EXIT_HLT, polls wake_fd; it counts the exits."""

    def __init__(self, vcpu: x86.VCPU) -> None:
        self.vcpu = vcpu
        self.exits: Counter[int] = Counter()
        self.lost = False
        self._stop = False
        self._poll = select.poll()
        self._poll.register(vcpu.wake_fd, select.POLLIN)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop:
            reason = self.vcpu.run()
            self.exits[reason] += 1
            if reason == x86.EXIT_HLT and not self._poll.poll(PATIENCE * 1000):
                self.lost = True
                return

    def __enter__(self) -> PollingRunner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self.vcpu.kick()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the last kick was lost"

    def await_that(self, condition: Callable[[], bool], what: str) -> None:
        """Spin, giving way to the runner, until it has happened."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert not self.lost, f"{what}: poll(wake_fd) was not woken, {self.vcpu!r}"
            assert time.monotonic() < deadline, f"{what}: lost, {self.vcpu!r}"
            time.sleep(0)


@pytest.fixture
def vcpu() -> x86.VCPU:
    """In its HLT loop, which exits; interrupts are counted at DATA."""
    vcpu = looping(HLT_LOOP, hlt="exit")
    vcpu.memory.write(HANDLERS + VECTOR, assembled(COUNTING, HANDLERS + VECTOR, 32))
    return vcpu


def test_no_interrupt_is_lost(vcpu: x86.VCPU) -> None:
    taken = vcpu.memory.view()[DATA : DATA + 4].view("<u4")

    def has_taken(count: int) -> bool:
        return bool(taken[0] == count)

    with PollingRunner(vcpu) as runner:
        for number in range(1, ROUNDS + 1):
            vcpu.interrupt(VECTOR)
            runner.await_that(partial(has_taken, number), f"interrupt {number}")
    assert vcpu.stats["irq_injections"] == ROUNDS
    assert runner.exits[x86.EXIT_HLT] > ROUNDS // 2, "the vCPU was halted when most of them came"


def test_no_wake_of_any_kind_is_lost(vcpu: x86.VCPU) -> None:
    """Interrupts, NMIs, kicks, immediate_exit and window requests, one after the other, no rest."""
    random_number = random.Random(4)
    taken = vcpu.memory.view()[DATA : DATA + 4].view("<u4")
    with PollingRunner(vcpu) as runner:
        exits = runner.exits

        def interrupt() -> Callable[[], bool]:
            before = taken[0]
            vcpu.interrupt(VECTOR)
            return lambda: taken[0] > before

        def nmi() -> Callable[[], bool]:
            before = vcpu.stats["nmi_injections"]
            vcpu.nmi()
            return lambda: vcpu.stats["nmi_injections"] > before

        def kick() -> Callable[[], bool]:
            before = exits[x86.EXIT_INTR]
            vcpu.kick()
            return lambda: exits[x86.EXIT_INTR] > before

        def immediate_exit() -> Callable[[], bool]:
            before = exits[x86.EXIT_INTR]
            vcpu.immediate_exit = 1
            runner.await_that(lambda: exits[x86.EXIT_INTR] > before, "immediate_exit")
            vcpu.immediate_exit = 0
            return lambda: True

        def window() -> Callable[[], bool]:
            before = exits[x86.EXIT_IRQ_WINDOW_OPEN]
            vcpu.request_interrupt_window = 1
            runner.await_that(lambda: exits[x86.EXIT_IRQ_WINDOW_OPEN] > before, "window")
            vcpu.request_interrupt_window = 0
            return lambda: True

        ways = (interrupt, nmi, kick, immediate_exit, window)
        for _ in range(ROUNDS // 10):
            way = random_number.choice(ways)
            for _ in range(random_number.randrange(300)):
                pass  # meet the runner somewhere else each time
            runner.await_that(way(), way.__name__)


@pytest.mark.parametrize("kind", ["hlt", "mwait"])
def test_the_descriptor_of_a_vcpu_that_waits_in_the_core(kind: str) -> None:
    """Whoever watches from outside sees each wake, while the vCPU sleeps inside run()."""
    vcpu = looping(HLT_LOOP if kind == "hlt" else MWAIT_LOOP)
    poll = select.poll()
    poll.register(vcpu.wake_fd, select.POLLIN)
    vcpu.memory.write(HANDLERS + VECTOR, assembled(COUNTING, HANDLERS + VECTOR, 32))
    taken = vcpu.memory.view()[DATA : DATA + 4].view("<u4")
    set_hlt(vcpu, "block")
    thread = threading.Thread(target=vcpu.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    for number in range(1, 2001):
        vcpu.interrupt(VECTOR)
        while taken[0] < number or vcpu.waiting != kind or poll.poll(0):
            assert time.monotonic() < deadline, f"interrupt {number}, {vcpu.waiting!r}"
            time.sleep(0)
    vcpu.kick()
    thread.join(PATIENCE)
    assert not thread.is_alive()


WAYS_TO_WAIT = [("mwait", name) for name in MWAIT_WAITS] + [("hlt", name) for name in HLT_WAITS]


@pytest.mark.parametrize(("instruction", "name"), WAYS_TO_WAIT)
@pytest.mark.parametrize("how", ["kick", "immediate_exit"])
def test_no_kick_is_lost_before_during_or_after_a_wait(
    instruction: str, name: str, how: str
) -> None:
    """One run() and one kick at a random moment of it: each run() ends with EXIT_INTR."""
    vcpu = looping(HLT_LOOP if instruction == "hlt" else MWAIT_LOOP)
    (set_hlt if instruction == "hlt" else set_mwait)(vcpu, name)
    vcpu.mwait_timer_ns = vcpu.mwait_scan_ns = 10_000  # waits that end by themselves, too
    random_number = random.Random(name)
    reasons: list[int] = []
    turn = threading.Barrier(2)

    def enter() -> None:
        for _ in range(KICKS):
            turn.wait(PATIENCE)
            reasons.append(vcpu.run())

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    for number in range(1, KICKS + 1):
        turn.wait(PATIENCE)
        for _ in range(random_number.randrange(1000)):
            pass
        if random_number.random() < 0.5:
            vcpu.interrupt(VECTOR)  # meanwhile a wait may just be over
        if how == "kick":
            vcpu.kick()
        else:
            vcpu.immediate_exit = 1
        deadline = time.monotonic() + PATIENCE
        while len(reasons) < number:
            assert time.monotonic() < deadline, f"kick {number} is lost, {vcpu.waiting!r}"
            time.sleep(0)
        vcpu.immediate_exit = 0
    thread.join(PATIENCE)
    assert reasons == [x86.EXIT_INTR] * KICKS


def test_immediate_exit_beside_a_start_up_ipi_is_not_lost(memory: x86.Memory) -> None:
    """Both stand at one look of the guest: its blocks take long, for each store is a slow one."""
    waiting = mwait_guest("fault", "out 0x80, al", memory=memory, index=1)
    assert run(waiting) == "EXIT_IO"
    last = x86.VCPU(memory, index=x86.MAX_VCPUS - 1)  # a store looks at all monitors up to it
    vcpu = flat32(f"again: {f'inc dword ptr [{DATA}];' * 28} jmp again", memory=memory)
    for _ in range(100):
        with Running(vcpu) as running:
            wait_until(lambda: vcpu.instructions > 0, "in the guest")
            vcpu.sipi(1)
            vcpu.immediate_exit = 1
            assert running.exit() == "EXIT_INTR"
        vcpu.immediate_exit = 0
        vcpu.start_flat32(eip=CODE)
    assert last.mp_state == x86.MP_STATE_UNINITIALIZED
