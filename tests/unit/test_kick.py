"""Taking a vCPU out of run(): kick, immediate_exit, signals. None is lost, none comes twice."""

from __future__ import annotations

import signal
import threading
import time

import pytest

import x86core as x86
from tests.support import CODE, DATA, PATIENCE, Running, flat32, run, wait_until, waiter, word32

STRING_BYTES = 0xC0000
#: A guest that never leaves the core for each state in which a kick can find a vCPU.
GUESTS = {
    "running": f"again: inc dword ptr [{DATA}]; jmp again",
    "halted": "again: sti; hlt; jmp again",
    "waiting": f"again: mov eax, {DATA}; xor ecx, ecx; xor edx, edx; monitor; mwait; jmp again",
    "string": f"again: mov edi, {DATA}; mov ecx, {STRING_BYTES}; cld; rep stosb; jmp again",
}


def guest(name: str) -> x86.VCPU:
    """A vCPU that stays in the core for ever."""
    vcpu = flat32(GUESTS[name])
    vcpu.userspace_exits = 0
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


@pytest.mark.parametrize("name", GUESTS)
def test_kick_before_run_ends_the_next_run_at_once(name: str) -> None:
    vcpu = guest(name)
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    assert (vcpu.eip, vcpu.instructions) == (CODE, 0)


def test_kicks_do_not_add_up() -> None:
    vcpu = guest("running")
    vcpu.kick()
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    assert vcpu.run(max_instructions=10) == x86.EXIT_LIMIT


@pytest.mark.parametrize("name", GUESTS)
def test_no_kick_is_lost_whenever_it_comes(name: str) -> None:
    """One run and one kick at the same moment, many times: each run must end with EXIT_INTR."""
    vcpu = guest(name)
    rounds = 300
    reasons: list[int] = []
    turn = threading.Barrier(2)

    def enter() -> None:
        for _ in range(rounds):
            turn.wait(PATIENCE)
            reasons.append(vcpu.run())

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    kicks: list[int] = []
    for number in range(rounds):
        turn.wait(PATIENCE)
        for _ in range(number % 8 * 40):  # meet the other thread a little later each time
            pass
        vcpu.kick()
        kicks.append(number)
        wait_until(lambda: len(reasons) == len(kicks), f"the end of run {number}")
    thread.join(PATIENCE)
    assert reasons == [x86.EXIT_INTR] * rounds


def test_kick_while_halted_leaves_the_vcpu_halted() -> None:
    vcpu = guest("halted")
    with Running(vcpu) as running:
        running.asleep("hlt")
        assert vcpu.mp_state == x86.MP_STATE_HALTED
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert (vcpu.mp_state, vcpu.waiting) == (x86.MP_STATE_HALTED, "")
    retired = vcpu.instructions
    with Running(vcpu) as running:
        running.asleep("hlt")
    assert vcpu.instructions == retired


def test_kick_while_waiting_completes_mwait() -> None:
    vcpu = waiter()
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert (vcpu.mp_state, vcpu.waiting) == (x86.MP_STATE_RUNNABLE, "")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["wakes_kick"] == 1
    assert vcpu.stats["mwait_instructions"] == 1


def test_kick_in_a_long_string_operation() -> None:
    """REP stops between chunks: the registers say how far it got, the next run goes on there."""
    vcpu = guest("string")
    string_operation = CODE + len(b"\xbf1234\xb91234\xfc")
    done = threading.Event()

    def kicks() -> None:
        for _ in range(100):
            time.sleep(0.0003)
            vcpu.kick()
        done.set()
        vcpu.kick()

    thread = threading.Thread(target=kicks, daemon=True)
    thread.start()
    middles = 0
    while not done.is_set():
        assert vcpu.run() == x86.EXIT_INTR
        if vcpu.eip == string_operation:
            assert vcpu.edi + vcpu.ecx == DATA + STRING_BYTES
            middles += 0 < vcpu.ecx < STRING_BYTES
    thread.join(PATIENCE)
    assert middles > 0, "no kick stopped the operation half-way"


def test_immediate_exit_is_looked_at_on_entry() -> None:
    vcpu = guest("running")
    vcpu.immediate_exit = 1
    for _ in range(2):
        assert vcpu.run() == x86.EXIT_INTR
    assert vcpu.instructions == 0
    assert vcpu.immediate_exit == 1, "as in KVM, only userspace clears it"
    vcpu.immediate_exit = 0
    assert vcpu.run(max_instructions=5) == x86.EXIT_LIMIT


def test_immediate_exit_still_completes_the_io() -> None:
    """KVM's other use of it: enter only to finish the instruction whose exit was handled."""
    vcpu = flat32("in al, 0x60; again: jmp again")
    vcpu.eax = 0
    assert run(vcpu) == "EXIT_IO"
    vcpu.io_data = 0x41
    vcpu.immediate_exit = 1
    assert vcpu.run() == x86.EXIT_INTR
    assert (vcpu.eax, vcpu.eip) == (0x41, CODE + 2)


@pytest.mark.parametrize("name", GUESTS)
def test_a_python_signal_handler_ends_run_on_the_main_thread(name: str) -> None:
    """What makes Ctrl-C work: the handler's exception leaves run(), the guest running or asleep."""

    class SignalledError(Exception):
        pass

    def handler(*_: object) -> None:
        raise SignalledError

    vcpu = guest(name)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(SignalledError):
            vcpu.run()
        assert time.monotonic() - started < 0.2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_second_thread_cannot_enter_the_same_vcpu() -> None:
    vcpu = guest("running")
    with Running(vcpu):
        wait_until(lambda: word32(vcpu.memory) > 0, "the guest counts")
        with pytest.raises(RuntimeError, match="run"):
            vcpu.run(max_instructions=1)
