"""The 8259A pair: initialization, priorities, ends of interrupts, and INTA."""

from __future__ import annotations

import pytest

from vmm.devices import PIC

MASTER, SLAVE = 0x20, 0xA0
EOI, ROTATE_EOI, SPECIFIC_EOI, ROTATE_SPECIFIC_EOI, SET_PRIORITY = 0x20, 0xA0, 0x60, 0xE0, 0xC0
READ_IRR, READ_ISR, POLL = 0x0A, 0x0B, 0x0C
SET_SPECIAL_MASK, RESET_SPECIAL_MASK = 0x68, 0x48
AUTOMATIC_EOI, SPECIAL_FULLY_NESTED = 0x02, 0x10
X86 = 0x01


class Pair:
    """A pair programmed as most systems do it, everything unmasked."""

    def __init__(self, icw4: int = 0, icw1: int = 0x11) -> None:
        self.changes: list[bool] = []
        self.pic = PIC(self.changes.append)
        self.initialize(icw4, icw1)

    def initialize(self, icw4: int = 0, icw1: int = 0x11) -> None:
        for port, base, cascade in ((MASTER, 0x20, 0x04), (SLAVE, 0x28, 0x02)):
            self.write(port, icw1)
            for word in (base, cascade, X86 | icw4):
                self.write(port + 1, word)

    def write(self, port: int, value: int) -> None:
        self.pic.write(port, value)

    def read(self, port: int, command: int | None = None) -> int:
        if command is not None:
            self.pic.write(port, command)
        return self.pic.read(port)

    def pulse(self, *irqs: int) -> None:
        """An edge; the line stays up, as an interrupt's must until it is acknowledged."""
        for irq in irqs:
            self.pic.set_line(irq, False)
            self.pic.set_line(irq, True)

    def requests(self) -> bool:
        return self.pic.intr

    def taken(self) -> list[int]:
        """IRQs that are acknowledged one after the other, none of them ended."""
        irqs = []
        while self.requests():
            irqs.append(self.pic.acknowledge() - 0x20)
        return irqs


def test_nothing_is_requested_before_initialization() -> None:
    changes: list[bool] = []
    pic = PIC(changes.append)
    pic.write(MASTER + 1, 0)
    pic.set_line(0, True)
    assert not pic.intr
    assert changes == []


@pytest.mark.parametrize("words", range(4))
def test_nor_until_all_words_have_come(words: int) -> None:
    pic = PIC(lambda level: None)
    for port, value in [(0x20, 0x11), (0x21, 0x20), (0x21, 0x04), (0x21, 0x01)][:words]:
        pic.write(port, value)
    pic.set_line(0, True)
    assert not pic.intr


@pytest.mark.parametrize("irq", [0, 1, 3, 7, 8, 12, 15])
def test_an_edge_requests_and_is_acknowledged(irq: int) -> None:
    pair = Pair()
    pair.pulse(irq)
    assert pair.requests()
    assert pair.changes == [True]
    assert pair.pic.acknowledge() == 0x20 + irq
    assert not pair.requests()
    port = MASTER if irq < 8 else SLAVE
    assert pair.read(port, READ_ISR) == 1 << (irq & 7)
    assert pair.read(port, READ_IRR) == 0
    assert pair.read(MASTER, READ_ISR) == (1 << irq if irq < 8 else 4)


def test_the_low_bits_of_icw2_do_not_count() -> None:
    pair = Pair()
    pair.write(MASTER, 0x11)
    for word in (0x4F, 0x04, 0x01):
        pair.write(MASTER + 1, word)
    pair.pulse(3)
    assert pair.pic.acknowledge() == 0x4B


def test_an_edge_counts_no_longer_than_its_line_is_up() -> None:
    """Data sheet: the input must stay up until the first INTA, else it is a default IR 7."""
    pair = Pair()
    pair.pulse(3)
    pair.pic.set_line(3, False)
    assert not pair.requests()
    assert pair.changes == [True, False]
    assert pair.pic.acknowledge() == 0x27
    assert pair.read(MASTER, READ_ISR) == 0


def test_a_slaves_spurious_interrupt() -> None:
    """The line drops between the master's and the slave's part in an INTA."""
    pair = Pair()
    pair.write(SLAVE + 1, 0xFF)
    pair.pic._master.set_line(2, True)  # the cascade line alone
    assert pair.pic.acknowledge() == 0x2F
    assert pair.read(MASTER, READ_ISR) == 4, "which is why a handler of IRQ 15 ends the master's"
    assert pair.read(SLAVE, READ_ISR) == 0


def test_a_line_that_stays_up_requests_once() -> None:
    pair = Pair()
    pair.pulse(4)
    assert pair.taken() == [4]
    pair.write(MASTER, EOI)
    assert not pair.requests()
    pair.pulse(4)
    assert pair.taken() == [4]


def test_icw1_forgets_edges() -> None:
    pair = Pair()
    pair.pulse(1)
    pair.initialize()
    assert not pair.requests()
    pair.pulse(1)
    assert pair.requests()


def test_level_triggered_lines() -> None:
    pair = Pair()
    pair.write(0x4D0, 0x20)
    pair.pic.set_line(5, True)
    assert pair.taken() == [5]
    pair.write(MASTER, EOI)
    assert pair.taken() == [5], "its level is still up"
    pair.pic.set_line(5, False)
    pair.write(MASTER, EOI)
    assert not pair.requests()


def test_icw1_can_make_all_lines_level_triggered() -> None:
    pair = Pair(icw1=0x19)
    pair.pic.set_line(0, True)
    assert pair.taken() == [0]
    pair.write(MASTER, EOI)
    assert pair.taken() == [0]


def test_some_lines_are_never_level_triggered() -> None:
    pair = Pair()
    pair.write(0x4D0, 0xFF)
    pair.write(0x4D1, 0xFF)
    assert [pair.read(0x4D0), pair.read(0x4D1)] == [0xF8, 0xDE]


def test_masks() -> None:
    pair = Pair()
    pair.write(MASTER + 1, 0x08)
    assert pair.read(MASTER + 1) == 0x08
    pair.pulse(3)
    assert not pair.requests()
    assert pair.read(MASTER, READ_IRR) == 0x08
    pair.write(MASTER + 1, 0)
    assert pair.taken() == [3]


def test_higher_priority_interrupts_lower_does_not() -> None:
    pair = Pair()
    pair.pulse(4)
    assert pair.taken() == [4]
    pair.pulse(6, 4)
    assert not pair.requests()
    pair.pulse(1)
    assert pair.taken() == [1]
    pair.write(MASTER, EOI)
    assert not pair.requests()
    pair.write(MASTER, EOI)
    assert pair.taken() == [4]


def test_the_slave_comes_between_1_and_3() -> None:
    pair = Pair()
    pair.pulse(3, 9, 1)
    order = []
    while pair.requests():
        order.append(pair.pic.acknowledge() - 0x20)
        if order[-1] >= 8:
            pair.write(SLAVE, EOI)
        pair.write(MASTER, EOI)
    assert order == [1, 9, 3]


def test_several_of_the_slave_one_after_the_other() -> None:
    """INT of the slave must fall and rise for each, because the master sees edges."""
    pair = Pair()
    pair.pulse(8, 10, 15)
    order = []
    while pair.requests():
        order.append(pair.pic.acknowledge() - 0x20)
        pair.write(SLAVE, EOI)
        pair.write(MASTER, EOI)
    assert order == [8, 10, 15]


def test_a_specific_eoi() -> None:
    pair = Pair()
    pair.pulse(5)
    pair.taken()
    pair.pulse(2 - 1)
    pair.taken()
    pair.write(MASTER, SPECIFIC_EOI | 5)
    assert pair.read(MASTER, READ_ISR) == 0x02


def test_rotation_on_eoi() -> None:
    """The level that was served becomes the lowest: equal devices take turns."""
    pair = Pair()
    pair.pulse(4, 6)
    assert pair.taken() == [4]
    pair.write(MASTER, ROTATE_EOI)
    pair.pulse(4, 5)
    assert pair.taken() == [5]
    pair.write(MASTER, SPECIFIC_EOI | 5)
    assert pair.taken() == [6]
    pair.write(MASTER, EOI)
    assert pair.taken() == [4]


def test_rotation_on_specific_eoi_and_set_priority() -> None:
    pair = Pair()
    pair.pulse(2 + 1)
    pair.taken()
    pair.write(MASTER, ROTATE_SPECIFIC_EOI | 3)
    pair.pulse(0, 4)
    assert pair.taken() == [4]
    pair.write(MASTER, SPECIFIC_EOI | 4)
    pair.write(MASTER, SET_PRIORITY | 5)  # now 6 is the highest
    pair.pulse(6)
    assert pair.taken() == [6]


def test_no_operation() -> None:
    pair = Pair()
    pair.pulse(0)
    pair.taken()
    pair.write(MASTER, 0x40)
    assert pair.read(MASTER, READ_ISR) == 0x01


def test_automatic_eoi() -> None:
    pair = Pair(AUTOMATIC_EOI)
    pair.pulse(3, 9, 12)
    assert pair.taken() == [9, 12, 3]
    assert pair.read(MASTER, READ_ISR) == pair.read(SLAVE, READ_ISR) == 0


def test_rotation_in_automatic_eoi() -> None:
    pair = Pair(AUTOMATIC_EOI)
    pair.write(MASTER, 0x80)
    pair.pulse(3)
    assert pair.taken() == [3]
    pair.pulse(1, 3, 4)
    assert pair.taken() == [4, 1, 3]
    pair.write(MASTER, 0x00)
    pair.pulse(5)
    assert pair.taken() == [5]
    pair.pulse(3, 4)
    assert pair.taken() == [4, 3], "3 was served last while they rotated"


def test_special_mask_mode_lets_lower_ones_in() -> None:
    pair = Pair()
    pair.pulse(3)
    pair.taken()
    pair.pulse(6)
    assert not pair.requests()
    pair.write(MASTER, SET_SPECIAL_MASK)
    assert not pair.requests(), "the one in service is not masked yet"
    pair.write(MASTER + 1, 0x08)
    assert pair.taken() == [6]
    pair.write(MASTER, EOI)
    assert pair.read(MASTER, READ_ISR) == 0x08, "a non-specific EOI does not end a masked level"
    pair.write(MASTER, RESET_SPECIAL_MASK)
    pair.pulse(6)
    assert not pair.requests()


@pytest.mark.parametrize(("icw4", "taken"), [(0, []), (SPECIAL_FULLY_NESTED, [8])])
def test_special_fully_nested_mode(icw4: int, taken: list[int]) -> None:
    """A slave in service may bring what is higher for it."""
    pair = Pair(icw4)
    pair.pulse(12)
    assert pair.taken() == [12]
    pair.pulse(3)
    assert not pair.requests()
    pair.pulse(8)
    assert pair.taken() == taken
    pair.pulse(14)
    assert not pair.requests()


def test_poll() -> None:
    pair = Pair()
    assert pair.read(MASTER, POLL) == 0
    pair.pulse(1, 4)
    assert pair.read(MASTER, POLL) == 0x81
    assert pair.read(MASTER, READ_ISR) == 0x02
    assert not pair.requests()
    pair.write(MASTER, EOI)
    assert pair.read(MASTER, POLL) == 0x84
    assert pair.pic.read(MASTER) == 0x10, "one read is the poll's; then ISR, as before"


def test_polling_both() -> None:
    pair = Pair()
    pair.pulse(11)
    assert pair.read(MASTER, POLL) == 0x82
    assert pair.read(SLAVE, POLL) == 0x83


def test_which_register_is_read_is_remembered() -> None:
    pair = Pair()
    pair.pulse(0)
    pair.taken()
    pair.pulse(7)
    assert pair.read(MASTER) == 0x80, "IRR after initialization"
    assert pair.read(MASTER, READ_ISR) == 0x01
    assert pair.read(MASTER, 0x08) == 0x01, "an OCW3 without RR changes nothing"
    assert pair.read(MASTER, READ_IRR) == 0x80


def test_a_single_chip_has_no_icw3() -> None:
    pair = Pair()
    pair.write(MASTER, 0x13)
    pair.write(MASTER + 1, 0x40)
    pair.write(MASTER + 1, 0x01)
    pair.pulse(9)
    assert pair.pic.acknowledge() == 0x42, "nobody told it of a slave"


def test_without_icw4() -> None:
    pair = Pair(AUTOMATIC_EOI)
    pair.write(MASTER, 0x10)
    pair.write(MASTER + 1, 0x20)
    pair.write(MASTER + 1, 0x04)
    pair.pulse(0)
    pair.taken()
    assert pair.read(MASTER, READ_ISR) == 0x01, "its functions are off, automatic EOI too"


def test_a_slave_of_another_identity_does_not_answer() -> None:
    pair = Pair()
    pair.write(SLAVE, 0x11)
    for word in (0x28, 0x05, 0x01):
        pair.write(SLAVE + 1, word)
    pair.pulse(9)
    assert pair.pic.acknowledge() == 0xFF


def test_its_state_is_whole() -> None:
    first = Pair(AUTOMATIC_EOI)
    first.write(MASTER, 0x80)
    first.pulse(9, 4)
    changes: list[bool] = []
    second = PIC(changes.append)
    second.restore(first.pic.save())
    assert changes == [True]
    assert [second.acknowledge(), second.acknowledge()] == [0x29, 0x24]
    second.set_line(4, True)
    assert not second.intr
