"""The timer as a guest sees it: its ports, IRQ 0, and port 61h."""

from __future__ import annotations

import pytest

from tests.devices.support import MILLISECOND, SECOND, Wire, advance_pulses, pulse_at
from vmm.clock import VirtualClock
from vmm.devices import PIT, Ports

COMMAND, SYSTEM_CONTROL = 0x43, 0x61
LATCH_0 = 0x00
OUT_HIGH, NULL_COUNT = 0x80, 0x40


class Board:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.irq = Wire()
        self.pit = PIT(self.clock, self.irq)
        self.ports = Ports(self.clock.lock)
        self.ports.attach(self.pit)

    def program(self, counter: int, mode: int, count: int) -> None:
        self.ports.write(COMMAND, 1, counter << 6 | 0x30 | mode << 1)
        self.ports.write(0x40 + counter, 1, count & 0xFF)
        self.ports.write(0x40 + counter, 1, count >> 8)

    def read(self, port: int) -> int:
        return self.ports.read(port, 1)

    def count(self, counter: int) -> int:
        self.ports.write(COMMAND, 1, counter << 6)
        return self.read(0x40 + counter) | self.read(0x40 + counter) << 8


def test_the_crystal() -> None:
    """14.31818 MHz by 12, to the pulse after a day."""
    board = Board()
    board.program(0, 2, 0xFFFF)
    board.clock.advance(88 * 1000)
    assert 0xFFFF - board.count(0) == 105 - 1, "the first pulse loads"


def test_it_begins_with_the_firmwares_tick() -> None:
    board = Board()
    board.clock.advance(10 * SECOND)
    assert board.irq.rises == 1 + int(10 * 105e6 / 88 / 65536)


@pytest.mark.parametrize("mode", [2, 3])
def test_periodic_interrupts_come_at_their_exact_pulses(mode: int) -> None:
    board = Board()
    board.program(0, mode, 1000)
    before = board.irq.rises
    board.clock.advance(pulse_at(1 + 5000) - 1)
    assert board.irq.rises == before + 4
    board.clock.advance(pulse_at(1 + 5000))
    assert board.irq.rises == before + 5
    assert board.irq.up()


def test_mode_3_holds_the_line_for_half_of_the_time() -> None:
    board = Board()
    board.program(0, 3, 1000)
    board.clock.advance(pulse_at(501) - 1)
    assert board.irq.up()
    board.clock.advance(pulse_at(501))
    assert not board.irq.up()


def test_one_interrupt_on_terminal_count() -> None:
    board = Board()
    board.program(0, 0, 100)
    assert not board.irq.up()
    rises = board.irq.rises
    board.clock.advance(pulse_at(101) - 1)
    assert not board.irq.up()
    board.clock.advance(pulse_at(101))
    assert board.irq.up()
    board.clock.advance(SECOND)
    assert board.irq.rises == rises + 1


def test_one_interrupt_at_the_end_of_a_strobe() -> None:
    board = Board()
    board.program(0, 4, 100)
    rises = board.irq.rises
    board.clock.advance(pulse_at(102) - 1)
    assert board.irq.rises == rises
    board.clock.advance(pulse_at(102))
    assert board.irq.rises == rises + 1


def test_a_latched_count_stays_until_it_is_read() -> None:
    board = Board()
    board.program(0, 2, 10_000)
    advance_pulses(board.clock, 101)
    board.ports.write(COMMAND, 1, LATCH_0)
    advance_pulses(board.clock, 100)
    board.ports.write(COMMAND, 1, LATCH_0)  # ignored: one is latched
    assert board.read(0x40) | board.read(0x40) << 8 == 9900
    assert board.read(0x40) | board.read(0x40) << 8 == 9800


def test_a_control_word_drops_a_latched_count() -> None:
    board = Board()
    board.program(0, 2, 10_000)
    advance_pulses(board.clock, 1)
    board.ports.write(COMMAND, 1, LATCH_0)
    board.program(0, 2, 0x1234)
    advance_pulses(board.clock, 1)
    assert board.read(0x40) | board.read(0x40) << 8 == 0x1234


def test_bytes_alternate_and_can_be_interleaved_with_writing() -> None:
    """Data sheet, "Read Operations": read low, write new low, read high, write new high."""
    board = Board()
    board.program(0, 2, 0x1234)
    advance_pulses(board.clock, 1)
    assert board.read(0x40) == 0x34
    board.ports.write(0x40, 1, 0x78)
    assert board.read(0x40) == 0x12
    board.ports.write(0x40, 1, 0x56)
    advance_pulses(board.clock, 0x1234)
    assert board.count(0) == 0x5678


@pytest.mark.parametrize(("access", "expected"), [(1, [0x34, 0x34]), (2, [0x12, 0x12])])
def test_one_byte_of_two(access: int, expected: list[int]) -> None:
    board = Board()
    board.ports.write(COMMAND, 1, access << 4 | 2 << 1)
    board.ports.write(0x40, 1, 0x34 if access == 1 else 0x12)
    advance_pulses(board.clock, 1)
    assert [board.read(0x40), board.read(0x40)] == expected


def test_read_back_of_status_and_count() -> None:
    board = Board()
    board.program(0, 2, 1000)
    board.ports.write(COMMAND, 1, 0xC2)
    assert board.read(0x40) == OUT_HIGH | NULL_COUNT | 0x34, "not loaded yet; status first"
    board.read(0x40), board.read(0x40)
    advance_pulses(board.clock, 11)
    board.ports.write(COMMAND, 1, 0xC2)
    advance_pulses(board.clock, 11)
    assert board.read(0x40) == OUT_HIGH | 0x34
    assert board.read(0x40) | board.read(0x40) << 8 == 990
    assert board.count(0) == 979


def test_read_back_of_several_counters() -> None:
    board = Board()
    for counter in range(3):
        board.program(counter, 2, 0x100 * (counter + 1))
    board.ports.write(SYSTEM_CONTROL, 1, 1)
    advance_pulses(board.clock, 1)
    board.ports.write(COMMAND, 1, 0xC0 | 0x10 | 0x0C)  # counts of counters 1 and 2
    advance_pulses(board.clock, 7)
    assert [board.read(0x40 + n) | board.read(0x40 + n) << 8 for n in range(3)] == [
        0x100 - 7,
        0x200,
        0x300,
    ]


def test_latching_the_status_twice_keeps_the_first() -> None:
    board = Board()
    board.program(0, 0, 3)
    board.ports.write(COMMAND, 1, 0xE2)
    advance_pulses(board.clock, 10)
    board.ports.write(COMMAND, 1, 0xE2)
    assert board.read(0x40) == NULL_COUNT | 0x30
    board.ports.write(COMMAND, 1, 0xE2)
    assert board.read(0x40) == OUT_HIGH | 0x30


def test_the_control_word_cannot_be_read() -> None:
    assert Board().read(COMMAND) == 0xFF


def test_port_61_gates_counter_2() -> None:
    board = Board()
    board.program(2, 0, 1000)
    advance_pulses(board.clock, 10)
    assert board.count(2) == 1000, "GATE 2 is low"
    board.ports.write(SYSTEM_CONTROL, 1, 0x01)
    advance_pulses(board.clock, 999)
    assert board.read(SYSTEM_CONTROL) & 0x2F == 0x01
    advance_pulses(board.clock, 1)
    assert board.read(SYSTEM_CONTROL) & 0x2F == 0x21, "OUT 2 is bit 5"


def test_port_61_keeps_its_four_low_bits() -> None:
    board = Board()
    board.ports.write(SYSTEM_CONTROL, 1, 0xFF)
    assert board.read(SYSTEM_CONTROL) & 0xCF == 0x0F
    board.ports.write(SYSTEM_CONTROL, 1, 0)
    assert board.read(SYSTEM_CONTROL) & 0xCF == 0


def test_port_61_shows_the_refresh_of_memory() -> None:
    """Bit 4 toggles each 15 us; loops of old programs count it."""
    board = Board()
    toggles, before = 0, board.read(SYSTEM_CONTROL) & 0x10
    for now in range(0, MILLISECOND, 5000):
        board.clock.advance(now)
        bit = board.read(SYSTEM_CONTROL) & 0x10
        toggles, before = toggles + (bit != before), bit
    assert toggles == pytest.approx(MILLISECOND / 15_085.7, abs=2)


def test_its_state_is_whole() -> None:
    """Saved in the middle and restored, it goes on in the same way."""
    first = Board()
    first.program(0, 3, 1001)
    first.program(2, 1, 50)
    first.ports.write(COMMAND, 1, 0xC4)
    first.clock.advance(777_777)
    second = Board()
    second.clock.advance(777_777)
    second.pit.restore(first.pit.save())
    seen: list[list[tuple[int, ...]]] = []
    for board in (first, second):
        before, moments = board.irq.rises, []
        board.ports.write(SYSTEM_CONTROL, 1, 1)
        for step in range(1, 40):
            board.clock.advance(777_777 + step * 100_000)
            reads = tuple(board.read(port) for port in (0x40, 0x41, 0x42, SYSTEM_CONTROL))
            moments.append((board.irq.rises - before, board.irq.up(), *reads))
        seen.append(moments)
    assert seen[0] == seen[1]
