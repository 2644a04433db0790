"""One Intel 8259A: eight requests, their masks and priorities.

As in a PC the processor is an 8086 and its heirs, so the bits of ICW1 and ICW4 that speak of the
8080 and of buffers have no effect. Source: Intel 8259A data sheet.
"""

from __future__ import annotations

from collections.abc import Callable

from vmm.devices.saved import Saved, limits

#: The request that stands for one that was withdrawn before it was acknowledged.
DEFAULT_LEVEL = 7

# ICW1, which bit 4 tells from OCW2 and OCW3.
_ICW1 = 0x10
_LEVEL_TRIGGERED = 0x08
_SINGLE = 0x02
_NEEDS_ICW4 = 0x01

# ICW4.
_SPECIAL_FULLY_NESTED = 0x10
_AUTOMATIC_EOI = 0x02

# OCW2, and OCW3, which bit 3 tells from it.
_ROTATE, _SPECIFIC, _EOI = 0x80, 0x40, 0x20
_OCW3 = 0x08
_ENABLE_SPECIAL_MASK, _SPECIAL_MASK = 0x40, 0x20
_POLL = 0x04
_READ_REGISTER, _READ_ISR = 0x02, 0x01

_POLL_INTERRUPT = 0x80


class Chip(Saved):
    """The `master` of a pair, or its slave. `output` is INT: called with its level whenever
    something has happened. Until the chip has been initialized it requests nothing.
    """

    saved = (
        "base",
        "level_triggered",
        "_lines",
        "_armed",
        "_mask",
        "_in_service",
        "_lowest",
        "_slaves",
        "_identity",
        "_words_to_come",
        "_icw1",
        "_icw4",
        "_rotates_in_automatic_eoi",
        "_special_mask",
        "_reads_in_service",
        "_polled",
    )
    most = limits(base=0xF8, _lowest=7, _identity=7, _words_to_come=4)
    longest = limits(_words_to_come=3)

    def __init__(self, output: Callable[[bool], object], *, master: bool) -> None:
        self._output = output
        self._is_master = master
        #: Upper five bits of the vectors.
        self.base = 0
        #: A bit for each line whose level, and not its edge, is a request.
        self.level_triggered = 0
        self._lines = 0
        self._armed = 0xFF  # lines that have been low since their last request was acknowledged
        self._mask = 0
        self._in_service = 0
        self._lowest = 7  # the level of lowest priority; the next one has the highest
        self._slaves = 0
        self._identity = 7
        #: Numbers of the initialization command words that are due; a 0 before the first ICW1.
        self._words_to_come = [0]
        self._icw1 = 0
        self._icw4 = 0
        self._rotates_in_automatic_eoi = False
        self._special_mask = False
        self._reads_in_service = False
        self._polled = False

    def set_line(self, level: int, asserted: bool) -> None:
        """Drive an input."""
        bit = 1 << level
        if asserted == bool(self._lines & bit):
            return
        self._lines ^= bit
        if not asserted:
            self._armed |= bit
        self._update()

    def set_level_triggered(self, levels: int) -> None:
        """Choose the inputs that are level-triggered, a bit each."""
        self.level_triggered = levels
        self._update()

    def has_slave(self, level: int) -> bool:
        """Whether ICW3 said that the vectors of this level are a slave's to give."""
        return bool(self._slaves >> level & 1)

    def is_slave(self, level: int) -> bool:
        """Whether ICW3 said that this chip is the slave at that level."""
        return self._identity == level

    def acknowledge(self) -> int:
        """An INTA sequence: put the highest request in service, and return its level.

        The default level, and nothing in service, when there is none.
        """
        level = self._request()
        if level is None:
            return DEFAULT_LEVEL
        bit = 1 << level
        self._armed &= ~bit
        if not self._icw4 & _AUTOMATIC_EOI:
            self._in_service |= bit
        elif self._rotates_in_automatic_eoi:
            self._lowest = level
        self._output(False)  # INT falls in the sequence, and rises again for another request
        self._update()
        return level

    def read(self, address: int) -> int:
        """A read with A0 = `address`."""
        if self._polled:
            self._polled = False
            waiting = self._request() is not None
            return _POLL_INTERRUPT | self.acknowledge() if waiting else 0
        if address:
            return self._mask
        return self._in_service if self._reads_in_service else self._requests

    def write(self, address: int, value: int) -> None:
        """A write with A0 = `address`."""
        if address:
            self._write_data(value)
        elif value & _ICW1:
            self._initialize(value)
        elif value & _OCW3:
            self._write_ocw3(value)
        else:
            self._write_ocw2(value)
        self._update()

    @property
    def _requests(self) -> int:
        """IRR. An edge counts no longer than its line stays up."""
        by_level = 0xFF if self._icw1 & _LEVEL_TRIGGERED else self.level_triggered
        return self._lines & (self._armed | by_level)

    @property
    def _blocking(self) -> int:
        """The levels in service that priority is measured against."""
        return self._in_service & ~self._mask if self._special_mask else self._in_service

    def _by_priority(self) -> list[int]:
        return [(self._lowest + distance) & 7 for distance in range(1, 9)]

    def _request(self) -> int | None:
        """The level to be acknowledged next."""
        if self._words_to_come:
            return None
        requests, blocking = self._requests & ~self._mask, self._blocking
        if not requests:
            return None
        # In special fully nested mode a slave may bring more while it is in service.
        nested = self._slaves if self._icw4 & _SPECIAL_FULLY_NESTED else 0
        for level in self._by_priority():
            bit = 1 << level
            if requests & bit and not blocking & ~nested & bit:
                return level
            if blocking & bit:
                return None
        return None

    def _update(self) -> None:
        self._output(self._request() is not None)

    def _initialize(self, value: int) -> None:
        self._icw1 = value
        self._words_to_come = [2, *([] if value & _SINGLE else [3]), *([4] * (value & _NEEDS_ICW4))]
        self._icw4 = 0
        self._armed = ~self._lines & 0xFF
        self._mask = self._in_service = self._slaves = 0
        self._lowest = self._identity = 7
        self._rotates_in_automatic_eoi = self._special_mask = False
        self._reads_in_service = self._polled = False

    def _write_data(self, value: int) -> None:
        """ICW2 to 4 while they are due, then OCW1."""
        match self._words_to_come:
            case [2, *later]:
                self.base = value & 0xF8
                self._words_to_come = later
            case [3, *later]:
                if self._is_master:
                    self._slaves = value
                else:
                    self._identity = value & 7
                self._words_to_come = later
            case [4, *later]:
                self._icw4 = value
                self._words_to_come = later
            case _:
                self._mask = value

    def _write_ocw2(self, value: int) -> None:
        level = value & 7
        match bool(value & _EOI), bool(value & _SPECIFIC):
            case True, specific:
                ended = level if specific else self._highest_in_service()
                if ended is not None:
                    self._in_service &= ~(1 << ended)
                    if value & _ROTATE:
                        self._lowest = ended
            case False, True:
                if value & _ROTATE:  # set priority
                    self._lowest = level
            case _:
                self._rotates_in_automatic_eoi = bool(value & _ROTATE)

    def _highest_in_service(self) -> int | None:
        """What a non-specific EOI ends."""
        blocking = self._blocking
        return next((level for level in self._by_priority() if blocking >> level & 1), None)

    def _write_ocw3(self, value: int) -> None:
        if value & _ENABLE_SPECIAL_MASK:
            self._special_mask = bool(value & _SPECIAL_MASK)
        if value & _POLL:
            self._polled = True
        elif value & _READ_REGISTER:
            self._reads_in_service = bool(value & _READ_ISR)
