"""The serial port: registers, FIFO, errors, modem lines, loop-back."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.devices.support import SECOND, Wire
from vmm.clock import VirtualClock
from vmm.devices import Ports, Serial
from vmm.devices.serial_receiver import WAITING_ROOM

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
FCR = IIR
DLAB, BREAK = 0x80, 0x40
LOOP, OUT2 = 0x10, 0x08
DR, OE, FE, BI, THRE, TEMT, FIFO_ERROR = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40, 0x80
EMPTY = THRE | TEMT


class Board:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.irq = Wire()
        self.sent = bytearray()
        self.serial = Serial(self.clock, self.irq, self.sent.extend)
        self.ports = Ports(self.clock.lock)
        self.ports.attach(self.serial)

    def read(self, register: int) -> int:
        return self.ports.read(0x3F8 + register, 1)

    def write(self, register: int, value: int) -> None:
        self.ports.write(0x3F8 + register, 1, value)

    def received(self) -> bytes:
        """What there is to be read."""
        data = bytearray()
        while self.read(LSR) & DR:
            data.append(self.read(DATA))
        return bytes(data)


def test_at_the_start() -> None:
    board = Board()
    assert [board.read(each) for each in range(1, 8)] == [0, 0x01, 3, 0, EMPTY, 0xB0, 0]


def test_output() -> None:
    board = Board()
    for byte in b"hello\xff":
        board.write(DATA, byte)
        assert board.read(LSR) == EMPTY
    assert board.sent == b"hello\xff"


@pytest.mark.parametrize(("bits", "sent"), [(0, 0x1F), (1, 0x3F), (2, 0x7F), (3, 0xFF)])
def test_the_word_length(bits: int, sent: int) -> None:
    board = Board()
    board.write(LCR, bits)
    board.write(DATA, 0xFF)
    assert board.sent == bytes([sent])


def test_nothing_is_sent_while_the_line_is_broken() -> None:
    board = Board()
    board.write(LCR, BREAK | 3)
    board.write(DATA, 0x41)
    board.write(LCR, 3)
    board.write(DATA, 0x42)
    assert board.sent == b"B"


def test_input_without_fifo() -> None:
    board = Board()
    assert board.serial.receive(b"abc") == 3
    assert board.read(LSR) == DR | EMPTY
    assert board.received() == b"abc"
    assert board.read(LSR) == EMPTY
    assert board.read(DATA) == 0


def test_input_in_a_fifo_waits_for_room_and_overruns_nothing() -> None:
    board = Board()
    board.write(FCR, 0x01)
    data = bytes(range(100))
    board.serial.receive(data)
    assert board.received() == data
    assert not board.read(LSR) & OE


def test_input_waits_until_the_guest_looks_for_it() -> None:
    """What initializes a port clears its FIFO and loops it back, and drops nothing by that."""
    board = Board()
    board.serial.receive(b"input")
    board.write(IER, 0)
    board.write(FCR, 0xC7)
    board.write(MCR, LOOP | 0x0E)
    board.write(DATA, 0xAE)
    assert board.read(LSR) & DR
    assert board.read(DATA) == 0xAE
    board.write(MCR, 0x0F)
    assert board.received() == b"input"


def test_input_has_a_bound() -> None:
    board = Board()
    board.received()
    assert board.serial.receive(bytes(10 * WAITING_ROOM)) == WAITING_ROOM
    assert board.serial.receive(b"abc") == 1, "one byte went on into the holding register"
    assert board.serial.receive(b"bc") == 0
    assert len(board.received()) == WAITING_ROOM + 1


def test_input_from_many_threads() -> None:
    board = Board()
    senders = [
        threading.Thread(target=lambda byte=byte: [board.serial.receive(byte) for _ in range(100)])
        for byte in (b"a", b"b", b"c")
    ]
    for sender in senders:
        sender.start()
    data = b""
    while any(sender.is_alive() for sender in senders):
        data += board.received()
    data += board.received()
    assert sorted(data) == sorted(b"abc" * 100)


def test_the_divisor_latch() -> None:
    board = Board()
    board.write(LCR, DLAB | 3)
    board.write(DATA, 0x34)
    board.write(IER, 0x12)
    assert (board.read(DATA), board.read(IER)) == (0x34, 0x12)
    board.write(LCR, 3)
    assert board.read(IER) == 0
    assert board.sent == b""
    assert board.read(LCR) == 3


def test_registers_keep_the_bits_that_they_have() -> None:
    board = Board()
    for register, kept in ((IER, 0x0F), (MCR, 0x1F), (SCR, 0xFF), (LCR, 0xFF)):
        board.write(register, 0xFF)
        assert board.read(register) == (0 if register == IER and kept == 0 else kept)
        if register != LCR:
            board.write(register, 0)


def test_the_status_registers_cannot_be_written() -> None:
    board = Board()
    board.write(LSR, 0xFF)
    board.write(MSR, 0xFF)
    assert (board.read(LSR), board.read(MSR)) == (EMPTY, 0xB0)


def test_clearing_and_switching_the_fifo_drops_what_is_in_it() -> None:
    board = Board()
    board.write(MCR, LOOP)
    for fcr in (0x03, 0x00):
        board.write(FCR, 0x01)
        board.write(DATA, 0x41)
        assert board.read(LSR) & DR
        board.write(FCR, fcr)
        assert not board.read(LSR) & DR


def test_clearing_counts_only_with_the_enable_bit() -> None:
    board = Board()
    board.write(FCR, 0x00)
    board.serial.receive(b"x")
    assert board.read(LSR) & DR
    board.write(FCR, 0x02)
    assert board.received() == b"x"


def test_loop_back() -> None:
    board = Board()
    board.write(MCR, LOOP)
    board.write(DATA, 0x41)
    assert board.received() == b"A"
    assert board.sent == b""


def test_input_waits_while_the_port_is_looped() -> None:
    board = Board()
    board.write(MCR, LOOP)
    board.serial.receive(b"x")
    assert not board.read(LSR) & DR
    board.write(MCR, 0)
    assert board.received() == b"x"


@pytest.mark.parametrize(("fcr", "size"), [(0x00, 1), (0x01, 16)])
def test_a_guest_overruns_itself(fcr: int, size: int) -> None:
    """Without a FIFO the last byte stays; with one those that have come before."""
    board = Board()
    board.write(FCR, fcr)
    board.write(MCR, LOOP)
    for byte in range(size + 1):
        board.write(DATA, byte)
    assert board.read(LSR) & OE
    assert not board.read(LSR) & OE, "reading clears it"
    assert board.received() == (bytes(range(16)) if fcr else b"\x01")


def test_a_break_is_seen_when_its_byte_is_the_first() -> None:
    board = Board()
    board.write(FCR, 0x01)
    board.write(MCR, LOOP)
    board.write(DATA, 0x41)
    board.write(LCR, BREAK | 3)
    board.write(LCR, 3)
    assert board.read(LSR) == EMPTY | DR | FIFO_ERROR, "an error somewhere in the FIFO"
    assert board.read(DATA) == 0x41
    assert board.read(LSR) == EMPTY | DR | FIFO_ERROR | BI | FE
    assert board.read(LSR) == EMPTY | DR
    assert board.read(DATA) == 0


def test_without_fifo_bit_7_is_0() -> None:
    board = Board()
    board.write(MCR, LOOP)
    board.write(LCR, BREAK | 3)
    assert board.read(LSR) == EMPTY | DR | BI | FE


def test_modem_lines() -> None:
    """The other end is there: CTS, DSR and DCD. Looped, the outputs come back in."""
    board = Board()
    assert board.read(MSR) == 0xB0
    board.write(MCR, LOOP | 0x0F)
    assert board.read(MSR) == 0xF0, "RI going up is no change"
    board.write(MCR, LOOP)
    assert board.read(MSR) == 0x0F
    assert board.read(MSR) == 0, "reading clears the changes"
    for control, lines in ((0x01, 0x22), (0x03, 0x11), (0x07, 0x40), (0x0F, 0x88)):
        board.write(MCR, LOOP | control)
        before, new = board.read(MSR), lines & 0xF0
        assert before & new == new
        assert before & 0x0F == lines & 0x0F
    board.write(MCR, LOOP | 0x0B)
    assert board.read(MSR) == 0xB4, "RI's trailing edge"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 7), st.integers(0, 255)),
            st.tuples(st.just("read"), st.integers(0, 7), st.just(0)),
            st.tuples(st.just("receive"), st.integers(0, 40), st.just(0)),
            st.tuples(st.just("pass"), st.integers(0, SECOND), st.just(0)),
        ),
        max_size=80,
    )
)
def test_no_programming_raises_and_no_input_is_lost_unlooped(
    steps: list[tuple[str, int, int]],
) -> None:
    board = Board()
    for what, value, byte in steps:
        match what:
            case "write":
                board.write(value, byte)
            case "read":
                assert 0 <= board.read(value) <= 0xFF
            case "receive":
                board.serial.receive(bytes(value))
            case "pass":
                board.clock.advance(board.clock.now() + value)
    looped = any(step[0] == "write" and step[1] == MCR and step[2] & LOOP for step in steps)
    assert looped or not board.read(LSR) & OE


def test_its_state_is_whole() -> None:
    first, second = Board(), Board()
    first.write(FCR, 0x81)
    first.write(IER, 0x0F)
    first.write(MCR, OUT2)
    first.serial.receive(b"abc")
    second.serial.restore(first.serial.save())
    for board in (first, second):
        board.clock.advance(SECOND)
    assert first.irq.up()
    assert second.irq.up()
    assert first.read(IIR) == second.read(IIR)
    assert second.received() == b"abc"
