"""The whole set: how it is wired, what no programming does to it, its state."""

from __future__ import annotations

import json
import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import x86core as x86
from tests.devices.support import SECOND
from vmm.clock import VirtualClock, WallClock
from vmm.devices import PC, GuestReset, MemoryMap, Message, Ports

IOAPIC = 0xFEC00000

#: Where it answers; everywhere else is open bus.
TAKEN = [
    *(0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xA0, 0xA1),
    *range(0x3F8, 0x400),
    *(0x4D0, 0x4D1),
]


class Board:
    def __init__(self, clock: VirtualClock | WallClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.ports = Ports(self.clock.lock)
        self.map = MemoryMap(self.clock.lock)
        self.vcpu = x86.VCPU(x86.Memory(1 << 20))
        self.messages: list[Message] = []
        self.sent = bytearray()
        self.pc = PC(
            self.clock,
            self.ports,
            self.map,
            self.vcpu,
            output=self.sent.extend,
            deliver=self.deliver,
        )

    def deliver(self, message: Message) -> bool:
        self.messages.append(message)
        return True

    def write(self, port: int, *values: int) -> None:
        for value in values:
            self.ports.write(port, 1, value)

    def initialize_pic(self) -> None:
        for port, base, cascade in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
            self.write(port, 0x11)
            self.write(port + 1, base, cascade, 1)

    def route(self, line: int, vector: int) -> None:
        self.map.store(IOAPIC, 4, 0x10 + 2 * line)
        self.map.store(IOAPIC + 0x10, 4, vector)


def test_who_answers_where() -> None:
    board = Board()
    assert sorted(board.ports._devices) == TAKEN
    assert {board.ports.read(port, 1) for port in range(0x10000) if port not in TAKEN} == {0xFF}


@pytest.mark.parametrize(("irq", "line"), [(0, 2), (4, 4), (8, 8)])
def test_who_interrupts_by_which_line(irq: int, line: int) -> None:
    """The timer, the serial port and the clock, at both interrupt controllers."""
    board = Board()
    board.initialize_pic()
    for number in range(24):
        board.route(number, 0x40 + number)
    if irq == 0:
        board.write(0x43, 0x30)
        board.write(0x40, 10, 0)
    elif irq == 4:
        board.write(0x3FC, 0x08)
        board.write(0x3F9, 0x02)
    else:
        board.write(0x70, 0x0B)
        board.write(0x71, 0x42)
    assert isinstance(board.clock, VirtualClock)
    board.clock.advance(SECOND // 100)
    assert board.pc.pic.intr
    assert board.pc.pic.acknowledge() == 0x20 + irq
    assert {message.vector for message in board.messages} == {0x40 + line}


ACCESSES = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(st.sampled_from(TAKEN), st.integers(0, 0xFFFF)),
        st.sampled_from([1, 2, 4]),
        st.integers(0, 0xFFFF_FFFF),
        st.integers(0, 2 * SECOND),
    ),
    max_size=100,
)


def access(board: Board, writes: bool, port: int, size: int, value: int) -> None:
    if not writes:
        assert 0 <= board.ports.read(port, size) < 1 << 8 * size
        return
    try:
        board.ports.write(port, size, value & ((1 << 8 * size) - 1))
    except GuestReset:
        assert any(each in (0x60, 0x64, 0x92) for each in range(port, port + size))


@settings(deadline=None)
@given(ACCESSES)
def test_no_programming_raises(accesses: list[tuple[bool, int, int, int, int]]) -> None:
    board = Board()
    assert isinstance(board.clock, VirtualClock)
    for writes, port, size, value, nanoseconds in accesses:
        access(board, writes, port, size, value)
        board.clock.advance(board.clock.now() + nanoseconds % (1 << port % 31))
        assert board.vcpu.request_interrupt_window == board.pc.pic.intr
        board.pc.open_window()


@settings(deadline=None)
@given(ACCESSES, ACCESSES)
def test_its_state_is_whole(
    before: list[tuple[bool, int, int, int, int]], after: list[tuple[bool, int, int, int, int]]
) -> None:
    """Whatever was programmed: saved through JSON and restored, it goes on in the same way."""
    first, second = Board(), Board()
    for writes, port, size, value, nanoseconds in before:
        access(first, writes, port, size, value)
        advance(first, nanoseconds % (1 << port % 31))
    advance(second, first.clock.now())
    second.pc.restore(json.loads(json.dumps(first.pc.save())))
    assert second.pc.save() == first.pc.save()
    first.messages.clear()
    second.messages.clear()
    for writes, port, size, value, nanoseconds in after:
        for board in (first, second):
            access(board, writes, port, size, value)
            advance(board, nanoseconds % (1 << port % 31))
        assert first.clock.next_deadline == second.clock.next_deadline
        assert first.messages == second.messages
        assert first.vcpu.request_interrupt_window == second.vcpu.request_interrupt_window
    assert second.pc.save() == first.pc.save()


def advance(board: Board, nanoseconds: int) -> None:
    assert isinstance(board.clock, VirtualClock)
    board.clock.advance(board.clock.now() + nanoseconds)


def test_the_state_of_something_else_is_refused() -> None:
    board = Board()
    with pytest.raises(ValueError, match="not the state of a PIT"):
        board.pc.pit.restore(board.pc.serial.save())


def test_many_threads_at_once() -> None:
    """vCPUs that program at random, input, the clock's thread: nothing raises, time goes on."""
    failures: list[BaseException] = []
    clock = WallClock(failed=failures.append)
    board = Board(clock)
    over = time.monotonic() + 1.0

    def program(seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < over:
                access(
                    board,
                    chance.random() < 0.7,
                    chance.choice(TAKEN),
                    chance.choice((1, 2, 4)),
                    chance.getrandbits(32),
                )
                board.pc.serial.receive(chance.randbytes(5))
                board.pc.open_window()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=program, args=(seed,)) for seed in range(3)]
    with clock:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
