"""An 8254 counter as the data sheet tells it, a CLK pulse at a time: what `Counter` is held to."""

from __future__ import annotations


class Model:
    """No count of 1 in modes 2 and 3, which the data sheet forbids."""

    def __init__(self, gate: bool) -> None:
        self.gate = gate
        self.mode = 0
        self.bcd = False
        self.count: int | None = None
        self.element = 0
        self.odd = False
        self.load_at_next_pulse = False
        self.loaded = False
        self.suspended = False
        self.passed_zero = False
        self.out = False
        self.rises = 0

    @property
    def modulus(self) -> int:
        return 10_000 if self.bcd else 65_536

    def drive(self, level: bool) -> None:
        if level and not self.out:
            self.rises += 1
        self.out = level

    def control(self, mode: int, bcd: bool) -> None:
        self.mode, self.bcd = mode, bcd
        self.count = None
        self.load_at_next_pulse = self.loaded = self.suspended = False
        self.drive(mode != 0)

    def first_byte(self) -> None:
        if self.mode == 0:
            self.suspended = True
            self.drive(False)

    def write(self, count: int) -> None:
        """A whole count; 0 is the modulus."""
        self.count = count or self.modulus
        self.suspended = False
        if self.mode == 0:
            self.drive(False)
        if self.mode in (0, 4) or (self.mode in (2, 3) and not self.loaded):
            self.load_at_next_pulse = True

    def set_gate(self, level: bool) -> None:
        rises, falls = level and not self.gate, self.gate and not level
        self.gate = level
        if rises and self.mode in (1, 2, 3, 5) and self.count is not None:
            self.load_at_next_pulse = True
        if falls and self.mode in (2, 3):
            self.drive(True)

    def pulse(self) -> None:
        if self.mode in (4, 5) and not self.out:
            self.drive(True)
        if self.load_at_next_pulse:
            self.load_at_next_pulse = False
            self.loaded, self.passed_zero = True, False
            self.load()
            if self.mode == 1:
                self.drive(False)
            elif self.mode in (2, 3):
                self.drive(True)
        elif self.loaded and (self.mode in (1, 5) or (self.gate and not self.suspended)):
            {2: self.rate, 3: self.square}.get(self.mode, self.down)()

    def load(self) -> None:
        assert self.count is not None
        self.odd = self.mode == 3 and self.count % 2 == 1
        self.element = self.count - self.odd

    def down(self) -> None:
        self.element = (self.element - 1) % self.modulus
        if self.element == 0 and not self.passed_zero:
            self.passed_zero = True
            self.drive(self.mode in (0, 1))

    def rate(self) -> None:
        if self.element == 1:
            self.load()
            self.drive(True)
        else:
            self.element -= 1
            if self.element == 1:
                self.drive(False)

    def square(self) -> None:
        ends_at = 0 if self.odd and self.out else 2
        if self.element == ends_at:
            self.drive(not self.out)
            self.load()
        else:
            self.element -= 2
