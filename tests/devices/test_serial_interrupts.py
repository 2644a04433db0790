"""The serial port's interrupts: their priorities, and what brings and ends each."""

from __future__ import annotations

import pytest

from tests.devices.support import SECOND
from tests.devices.test_serial import (
    BREAK,
    DATA,
    DLAB,
    FCR,
    IER,
    IIR,
    LCR,
    LOOP,
    LSR,
    MCR,
    MSR,
    OUT2,
)
from tests.devices.test_serial import Board as Port

RECEIVED, TRANSMITTED, LINE, MODEM = 0x01, 0x02, 0x04, 0x08
ID_MODEM, ID_NONE, ID_TRANSMITTED, ID_RECEIVED, ID_LINE, ID_TIME_OUT = 0, 1, 2, 4, 6, 12
FIFO = 0xC0


class Board(Port):
    def __init__(self, enabled: int = 0, fcr: int = 0) -> None:
        super().__init__()
        self.write(MCR, OUT2)
        self.write(FCR, fcr)
        self.write(IER, enabled)


def test_transmitter_empty() -> None:
    """Enabled, it comes at once; reading IIR ends it; each byte brings it again, with an edge."""
    board = Board(TRANSMITTED)
    assert board.irq.up()
    assert board.read(IIR) == ID_TRANSMITTED
    assert not board.irq.up()
    assert board.read(IIR) == ID_NONE
    board.write(DATA, 0x41)
    assert board.irq.up()
    rises = board.irq.rises
    board.write(DATA, 0x42)
    assert board.irq.up()
    assert board.irq.rises == rises + 1


def test_enabling_what_is_enabled_brings_nothing() -> None:
    board = Board(TRANSMITTED)
    board.read(IIR)
    board.write(IER, TRANSMITTED)
    assert not board.irq.up()
    board.write(IER, 0)
    board.write(IER, TRANSMITTED)
    assert board.irq.up()


def test_a_received_byte() -> None:
    board = Board(RECEIVED)
    board.serial.receive(b"ab")
    assert board.irq.up()
    assert board.read(IIR) == ID_RECEIVED
    assert board.read(IIR) == ID_RECEIVED, "until it is read"
    board.read(DATA)
    assert board.irq.up(), "the next one has come"
    board.read(DATA)
    assert not board.irq.up()


@pytest.mark.parametrize(("bits", "level"), [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)])
def test_the_trigger_level(bits: int, level: int) -> None:
    board = Board(RECEIVED, fcr=0x01 | bits)
    board.serial.receive(bytes(level - 1))
    assert not board.irq.up()
    board.serial.receive(b"x")
    assert board.irq.up()
    assert board.read(IIR) == FIFO | ID_RECEIVED
    board.read(DATA)
    assert not board.irq.up()


def time_out(divisor: int, bits: int) -> int:
    """Four characters in ns."""
    return 4 * bits * divisor * SECOND // 115_200


@pytest.mark.parametrize(
    ("lcr", "bits"), [(0x03, 10), (0x00, 7), (0x07, 11), (0x0B, 11), (0x0F, 12)]
)
@pytest.mark.parametrize("divisor", [1, 12, 0x900])
def test_the_time_out_of_a_fifo_below_its_level(lcr: int, bits: int, divisor: int) -> None:
    board = Board(RECEIVED, fcr=0x81)
    board.write(LCR, lcr | DLAB)
    board.write(DATA, divisor & 0xFF)
    board.write(IER, divisor >> 8)
    board.write(LCR, lcr)
    board.serial.receive(b"abc")
    board.clock.advance(time_out(divisor, bits) - 1)
    assert not board.irq.up()
    board.clock.advance(time_out(divisor, bits))
    assert board.irq.up()
    assert board.read(IIR) == FIFO | ID_TIME_OUT
    board.read(DATA)
    assert not board.irq.up(), "reading ends it, and begins another"
    board.clock.advance(2 * time_out(divisor, bits) - 1)
    assert not board.irq.up()
    board.clock.advance(2 * time_out(divisor, bits))
    assert board.read(IIR) == FIFO | ID_TIME_OUT
    board.read(DATA)
    board.read(DATA)
    board.clock.advance(board.clock.now() + SECOND)
    assert not board.irq.up(), "the FIFO is empty"


def test_a_byte_that_comes_puts_the_time_out_off() -> None:
    board = Board(RECEIVED, fcr=0x81)
    board.serial.receive(b"a")
    board.clock.advance(time_out(12, 10) - 1)
    board.serial.receive(b"b")
    board.clock.advance(2 * time_out(12, 10) - 2)
    assert not board.irq.up()
    board.clock.advance(2 * time_out(12, 10) - 1)
    assert board.irq.up()


def test_a_time_out_that_is_enabled_late_comes_at_once() -> None:
    board = Board(fcr=0x81)
    board.serial.receive(b"a")
    board.read(LSR)
    board.clock.advance(SECOND)
    board.write(IER, RECEIVED)
    board.clock.advance(SECOND)
    assert board.read(IIR) == FIFO | ID_TIME_OUT


def test_line_status() -> None:
    board = Board(LINE)
    board.write(MCR, OUT2 | LOOP)
    board.write(LCR, BREAK | 3)
    assert board.read(IIR) == ID_LINE
    board.read(LSR)
    assert board.read(IIR) == ID_NONE


def test_modem_status() -> None:
    board = Board(MODEM)
    board.write(MCR, LOOP)
    assert board.read(IIR) == ID_MODEM
    board.read(MSR)
    assert board.read(IIR) == ID_NONE


def test_priorities() -> None:
    board = Board(fcr=0)
    board.write(MCR, LOOP)
    board.write(DATA, 0x41)
    board.write(DATA, 0x42)  # overruns
    board.write(IER, LINE | RECEIVED | TRANSMITTED | MODEM)
    seen = []
    for end in (LSR, DATA, None, MSR, None):
        seen.append(board.read(IIR))
        if end is not None:
            board.read(end)
    assert seen == [ID_LINE, ID_RECEIVED, ID_TRANSMITTED, ID_MODEM, ID_NONE]


def test_reading_iir_ends_only_what_it_names() -> None:
    board = Board(RECEIVED | TRANSMITTED)
    board.serial.receive(b"a")
    assert board.read(IIR) == ID_RECEIVED
    board.read(DATA)
    assert board.read(IIR) == ID_TRANSMITTED


@pytest.mark.parametrize("control", [0, LOOP, LOOP | OUT2])
def test_out2_lets_the_interrupt_out(control: int) -> None:
    board = Board(TRANSMITTED)
    board.write(MCR, control)
    assert not board.irq.up()
    board.write(MCR, OUT2)
    assert board.irq.up()
