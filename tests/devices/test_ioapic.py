"""The I/O APIC: its registers, edges, levels with Remote IRR, and EOIs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.devices import IOAPIC, MemoryMap, Message

BASE = 0xFEC00000
MASKED, LEVEL, REMOTE_IRR, ACTIVE_LOW, LOGICAL = 1 << 16, 1 << 15, 1 << 14, 1 << 13, 1 << 11
NMI, INIT, EXTINT = 4 << 8, 5 << 8, 7 << 8


class Board:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.accepts = True
        self.ioapic = IOAPIC(self.deliver)
        self.map = MemoryMap()
        self.map.attach(self.ioapic)

    def deliver(self, message: Message) -> bool:
        self.messages.append(message)
        return self.accepts

    def write(self, register: int, value: int) -> None:
        self.map.store(BASE, 4, register)
        self.map.store(BASE + 0x10, 4, value)

    def read(self, register: int) -> int:
        self.map.store(BASE, 4, register)
        return self.map.load(BASE + 0x10, 4)

    def route(self, line: int, low: int, high: int = 0) -> None:
        self.write(0x11 + 2 * line, high)
        self.write(0x10 + 2 * line, low)

    def vectors(self) -> list[int]:
        """Of the messages since the last call."""
        vectors = [message.vector for message in self.messages]
        self.messages.clear()
        return vectors


def test_after_reset() -> None:
    board = Board()
    assert board.read(0) == 0
    assert board.read(1) == 0x00170011
    assert board.read(2) == 0
    assert [board.read(0x10 + 2 * line) for line in range(24)] == [MASKED] * 24
    assert [board.read(0x11 + 2 * line) for line in range(24)] == [0] * 24


def test_registers_keep_what_can_be_written() -> None:
    board = Board()
    board.write(0, 0xFFFF_FFFF)
    assert board.read(0) == board.read(2) == 0x0F00_0000
    board.write(1, 0xFFFF_FFFF)
    assert board.read(1) == 0x00170011
    board.route(5, 0xFFFF_FFFF, 0xFFFF_FFFF)
    assert board.read(0x1A) == 0x0001_AFFF, "delivery status and Remote IRR are read-only"
    assert board.read(0x1B) == 0xFF00_0000


@pytest.mark.parametrize("register", [3, 0x0F, 0x40, 0xFF])
def test_registers_that_are_none(register: int) -> None:
    board = Board()
    board.write(register, 0xFFFF_FFFF)
    assert board.read(register) == 0


def test_the_select_register_can_be_read_and_bytes_of_all() -> None:
    board = Board()
    board.map.store(BASE, 4, 0x1234_5601)
    assert board.map.load(BASE, 4) == 0x01
    assert board.map.load(BASE + 0x10, 1) == 0x11
    assert board.map.load(BASE + 0x12, 2) == 0x17
    assert board.map.load(BASE + 0x20, 4) == 0
    board.map.store(BASE + 0x12, 2, 0xFFFF)
    assert board.map.load(BASE + 0x10, 4) == 0x00170011


def test_an_edge() -> None:
    board = Board()
    board.route(3, 0x31, 0x0200_0000)
    board.ioapic.set_line(3, True)
    board.ioapic.set_line(3, True)
    assert board.messages == [Message(2, logical=False, mode=0, vector=0x31, level=False)]
    assert not board.read(0x16) & REMOTE_IRR
    board.ioapic.set_line(3, False)
    board.ioapic.set_line(3, True)
    assert board.vectors() == [0x31, 0x31]


def test_a_masked_edge_is_lost() -> None:
    board = Board()
    board.route(3, MASKED | 0x31)
    board.ioapic.set_line(3, True)
    board.route(3, 0x31)
    assert board.vectors() == []


def test_a_level() -> None:
    board = Board()
    board.route(9, LEVEL | LOGICAL | 0x100 | 0x39, 0x0300_0000)
    board.ioapic.set_line(9, True)
    assert board.messages == [Message(3, logical=True, mode=1, vector=0x39, level=True)]
    assert board.read(0x22) & REMOTE_IRR
    board.ioapic.set_line(9, False)
    board.ioapic.set_line(9, True)
    assert board.vectors() == [0x39], "no second one before the EOI"
    board.ioapic.end_of_interrupt(0x38)
    assert board.vectors() == []
    board.ioapic.end_of_interrupt(0x39)
    assert board.vectors() == [0x39], "the line is still active"
    board.ioapic.set_line(9, False)
    board.ioapic.end_of_interrupt(0x39)
    assert board.vectors() == []
    assert not board.read(0x22) & REMOTE_IRR


def test_a_masked_level_comes_when_it_is_unmasked() -> None:
    board = Board()
    board.route(9, LEVEL | MASKED | 0x39)
    board.ioapic.set_line(9, True)
    assert board.vectors() == []
    board.route(9, LEVEL | 0x39)
    assert board.vectors() == [0x39]


def test_two_lines_of_one_vector_are_ended_together() -> None:
    board = Board()
    for line in (9, 10):
        board.route(line, LEVEL | 0x39)
        board.ioapic.set_line(line, True)
    assert board.vectors() == [0x39, 0x39]
    board.ioapic.set_line(9, False)
    board.ioapic.end_of_interrupt(0x39)
    assert board.vectors() == [0x39]


def test_a_level_made_an_edge_for_a_moment_is_ended() -> None:
    board = Board()
    board.route(9, LEVEL | 0x39)
    board.ioapic.set_line(9, True)
    board.route(9, MASKED | 0x39)
    assert not board.read(0x22) & REMOTE_IRR
    board.route(9, LEVEL | 0x39)
    assert board.vectors() == [0x39, 0x39]


def test_polarity() -> None:
    board = Board()
    board.route(4, ACTIVE_LOW | 0x34)
    board.ioapic.set_line(4, True)
    assert board.vectors() == []
    board.ioapic.set_line(4, False)
    assert board.vectors() == [0x34]


@pytest.mark.parametrize("mode", [NMI, INIT, EXTINT])
def test_other_deliveries_are_edges_whatever_the_entry_says(mode: int) -> None:
    board = Board()
    board.route(7, LEVEL | mode)
    board.ioapic.set_line(7, True)
    board.route(7, LEVEL | mode)
    assert board.messages == [Message(0, logical=False, mode=mode >> 8, vector=0, level=False)]
    assert not board.read(0x1E) & REMOTE_IRR


def test_a_level_that_nobody_accepts_waits_for_no_eoi() -> None:
    board = Board()
    board.accepts = False
    board.route(9, LEVEL | 0x39)
    board.ioapic.set_line(9, True)
    assert board.vectors() == [0x39]
    assert not board.read(0x22) & REMOTE_IRR
    board.accepts = True
    board.ioapic.set_line(9, False)
    board.ioapic.set_line(9, True)
    assert board.vectors() == [0x39]
    assert board.read(0x22) & REMOTE_IRR


@pytest.mark.parametrize(
    ("message", "address", "data"),
    [
        (Message(0, logical=False, mode=0, vector=0x31, level=False), 0xFEE00000, 0x4031),
        (Message(0xA5, logical=True, mode=1, vector=0xFE, level=True), 0xFEEA5004, 0xC1FE),
        (Message(0xFF, logical=False, mode=4, vector=0, level=False), 0xFEEFF000, 0x4400),
    ],
)
def test_as_a_message_signalled_interrupt(message: Message, address: int, data: int) -> None:
    assert (message.address, message.data) == (address, data)


@pytest.mark.parametrize(("mode", "reaches"), [(0, False), (NMI, True), (INIT, True)])
def test_what_no_processor_can_hold_off(mode: int, reaches: bool) -> None:
    board = Board()
    board.route(3, mode | MASKED)
    assert not board.ioapic.reaches_masked
    board.route(3, mode)
    assert board.ioapic.reaches_masked == reaches


def test_it_answers_in_its_region_alone() -> None:
    board = Board()
    assert board.map.load(BASE - 4, 4) == 0xFFFF_FFFF
    assert board.map.load(BASE + 0x1000, 2) == 0xFFFF
    board.map.store(BASE + 0x1000, 4, 1)
    with pytest.raises(ValueError, match="address 0xfec00000 is taken"):
        board.map.attach(IOAPIC(board.deliver))


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["store", "load"]),
                st.integers(0, 0xFFF),
                st.integers(1, 4),
                st.integers(0, 2**32 - 1),
            ),
            st.tuples(
                st.just("write"), st.integers(0, 0x41), st.just(4), st.integers(0, 2**32 - 1)
            ),
            st.tuples(st.just("line"), st.integers(0, 23), st.integers(0, 1), st.just(0)),
            st.tuples(st.just("eoi"), st.integers(0, 255), st.just(0), st.just(0)),
        ),
        max_size=60,
    )
)
def test_no_programming_raises_or_sends_without_end(
    steps: list[tuple[str, int, int, int]],
) -> None:
    board = Board()
    for what, where, size, value in steps:
        sent = len(board.messages)
        match what:
            case "store":
                board.map.store(BASE + where, size, value & ((1 << 8 * size) - 1))
            case "load":
                assert 0 <= board.map.load(BASE + where, size) < 1 << 8 * size
            case "write":
                board.write(where, value)
            case "line":
                board.ioapic.set_line(where, bool(size))
            case "eoi":
                board.ioapic.end_of_interrupt(where)
        assert len(board.messages) - sent <= 24


def test_its_state_is_whole() -> None:
    first, second = Board(), Board()
    first.route(9, LEVEL | 0x39)
    first.ioapic.set_line(9, True)
    first.write(0, 0x0500_0000)
    second.ioapic.restore(first.ioapic.save())
    assert second.read(0) == 0x0500_0000
    second.ioapic.end_of_interrupt(0x39)
    assert second.vectors() == [0x39]
