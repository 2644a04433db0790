"""Machines with virtual time: every run is alike, and what it should be."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator

import pytest

from tests.vmm.conftest import WriteGuest
from tests.vmm.in_turn import ASKED, four_vcpus, script
from vmm import MWAIT_CHOICES, LoadError, Machine, Outcome, Priority, Result

TIMEOUT = 20.0

#: Runs of one guest that have to be alike; `python -m tests.vmm.in_turn N` makes more.
RUNS = 5


def same(result: Result) -> tuple[object, ...]:
    """What has to be the same in all runs: all but what is measured on the host."""
    vcpus = [(v.location, v.waiting, v.instructions, v.exits, v.stats) for v in result.vcpus]
    return result.outcome, result.console, result.trace_hash, result.guest_ns, vcpus


@pytest.mark.parametrize("turn", [10, 1000])
def test_timers_ipis_mwait_and_input_are_the_same_every_time(turn: int) -> None:
    results, outputs = [], []
    for _ in range(RUNS):
        console = script()
        results.append(four_vcpus(console, turn).run(TIMEOUT))
        outputs.append(bytes(console.output))
    first = results[0]
    assert first.outcome is Outcome.EXIT_PORT
    assert len(first.console) == ASKED
    assert outputs[0].count(b">") == ASKED
    for vcpu in first.vcpus:
        assert vcpu.stats["irq_injections"] > 5
        assert vcpu.stats["wakes_store"] > 5
        assert vcpu.stats["halt_exits"] > 0
    assert {output: same(result) for output, result in zip(outputs, results, strict=True)} == {
        outputs[0]: same(first)
    }
    assert all(same(result) == same(first) for result in results)


def test_a_busy_host_changes_nothing() -> None:
    quiet = four_vcpus(script()).run(TIMEOUT)
    over = threading.Event()

    def disturb() -> None:
        while not over.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=disturb) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        busy = four_vcpus(script()).run(TIMEOUT)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert same(busy) == same(quiet)


@pytest.mark.parametrize("idle", list(MWAIT_CHOICES))
@pytest.mark.parametrize("hlt", ["block", "exit"])
def test_every_policy_gets_there(idle: str, hlt: str) -> None:
    results = [four_vcpus(script(), idle=idle, hlt=hlt).run(TIMEOUT) for _ in range(2)]
    assert results[0].outcome is Outcome.EXIT_PORT
    assert same(results[0]) == same(results[1])


def test_ticks_are_of_guest_time() -> None:
    result = Machine.load("idle", tick=10, clock="virtual").run(TIMEOUT)
    assert result.console.count("tick") == 5
    assert result.guest_ns == 500_000_000
    assert result.wall_seconds < TIMEOUT
    assert result.vcpus[0].instructions < 10_000


def test_exits_are_handled_at_their_instruction(guest: WriteGuest) -> None:
    code = "l: rdtsc; out 0xe9, al; inc cx; cmp cx, 200; jb l; mov al, 7; out 0xf4, al\n"
    results = [
        Machine.load(guest(code), clock="virtual", turn=turn).run(TIMEOUT) for turn in (1, 50, 1000)
    ]
    assert {result.exit_code for result in results} == {7}
    assert len({result.vcpus[0].instructions for result in results}) == 1


def test_all_wait_for_ever(guest: WriteGuest) -> None:
    halted = Machine.load(guest("cli; hlt\n"), clock="virtual", tick=100).run(TIMEOUT)
    assert halted.outcome is Outcome.ALL_HALTED
    assert "every started vCPU is halted with interrupts off" in halted.explanation
    waiting = Machine.load(guest("sti; hlt\n"), vcpus=2, clock="virtual").run(TIMEOUT)
    assert waiting.outcome is Outcome.ALL_HALTED
    assert "nothing is ahead that wakes one" in waiting.explanation
    assert [vcpu.waiting for vcpu in waiting.vcpus] == ["hlt", "hlt"]


@pytest.mark.parametrize("limit", [1, 77, 1000, 12345])
def test_the_instruction_limit_is_exact(guest: WriteGuest, limit: int) -> None:
    machine = Machine.load(guest("l: inc ax; jmp l\n"), vcpus=3, clock="virtual")
    result = machine.run(TIMEOUT, limit)
    assert result.outcome is Outcome.INSTRUCTION_LIMIT
    assert max(vcpu.instructions for vcpu in result.vcpus) == limit


def test_the_timeout_is_the_hosts(guest: WriteGuest) -> None:
    start = time.monotonic()
    result = Machine.load(guest("l: jmp l\n"), clock="virtual", turn=1 << 22).run(timeout=0.2)
    assert result.outcome is Outcome.TIMEOUT
    assert time.monotonic() - start < TIMEOUT


def test_ctrl_c_ends_the_run(guest: WriteGuest) -> None:
    machine = Machine.load(guest("l: out 0x80, al; jmp l\n"), clock="virtual")
    handler = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    result = machine.run(TIMEOUT)
    assert result.outcome is Outcome.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is handler


def test_work_is_done_at_the_same_moments(guest: WriteGuest) -> None:
    """By each idle guest, and by one that never is when it has waited for its bound."""

    def once(code: str) -> tuple[object, ...]:
        machine = Machine.load(guest(code), clock="virtual", vcpus=2)
        moments = []

        def task() -> None:
            moments.append(machine.vcpus[0].instructions)
            if len(moments) < 4:
                machine.work.submit(task)

        machine.work.submit(task)
        result = machine.run(TIMEOUT, 40_000_000)
        assert len(moments) == 4
        return moments, same(result)

    for code in ("l: jmp l\n", "sti; l: hlt; jmp l\n"):
        assert once(code) == once(code)


def test_work_without_end_leaves_guest_time_its_way(guest: WriteGuest) -> None:
    """Slices of it between the ticks, at the same moments in every run."""

    def once() -> tuple[object, ...]:
        code = (
            "mov word ptr [0x80], offset t; l: sti; hlt; jmp l\n"
            "t: inc bl; cmp bl, 9; je d; iret; d: out 0xF4, al\n"
        )
        machine = Machine.load(guest(code), clock="virtual", vcpus=1, tick=1000)
        moments: list[int] = []

        def work() -> Generator[None, int, None]:
            while True:
                moments.append(machine.vcpus[0].instructions)
                yield

        machine.work.submit(work, priority=Priority.LOW)
        result = machine.run(TIMEOUT)
        assert result.outcome is Outcome.EXIT_PORT
        assert result.work.pending == 1
        assert len(moments) > 20
        return moments, same(result)

    assert once() == once()


def test_a_device_that_fails(guest: WriteGuest) -> None:
    class Broken:
        ports = (0x80,)

        def read(self, port: int) -> int:
            raise ZeroDivisionError

        def write(self, port: int, value: int) -> None:
            raise ZeroDivisionError

    machine = Machine.load(guest("out 0x80, al\n"), clock="virtual")
    machine.ports.attach(Broken())
    with pytest.raises(ZeroDivisionError):
        machine.run(TIMEOUT)


def test_bad_settings() -> None:
    with pytest.raises(LoadError, match=r"unknown clock 'sand' \(known: wall, virtual\)"):
        Machine(clock="sand")
    with pytest.raises(ValueError, match="turn of 0"):
        Machine(clock="virtual", turn=0)
