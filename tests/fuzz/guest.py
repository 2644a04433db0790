"""Runs random programs one after the other on one vCPU, and checks what must hold after each."""

from __future__ import annotations

import x86core as x86
from tests.differential.case import Case
from tests.differential.disassembly import Mode
from tests.differential.layout import EAX, GENERAL, RAM, SEGMENTS
from tests.differential.paged_core import make_core

_LIMIT = 300
_CR0_EM = 1 << 2
#: Times that a program may leave the core for a device before it is given up.
_EXITS = 50
#: Programs between two resets of RAM: what one leaves there is part of the next one's state.
_RESET = 256
_FINAL = {
    x86.EXIT_HLT,
    x86.EXIT_MWAIT,
    x86.EXIT_SHUTDOWN,
    x86.EXIT_INTERNAL_ERROR,
    x86.EXIT_LIMIT,
}
_DEVICE = {x86.EXIT_IO, x86.EXIT_MMIO}


class InvariantError(AssertionError):
    """Something that no guest may bring about; the message says what."""


class Guest:
    """A vCPU over RAM of its own."""

    def __init__(self, mode: Mode) -> None:
        self._core = make_core(mode)
        self._vcpu = self._core.vcpu
        self.finished = 0

    def run(self, program: Case) -> int:
        """Run a program to its end; the exit reason. Raises InvariantError."""
        if self.finished % _RESET == 0:
            self._core.restore()
        self._core.load(program)
        if program.registers[EAX] & 1:  # half of the programs reach the missing coprocessor
            self._vcpu.cr0 &= ~_CR0_EM
        first = self._vcpu.instructions
        for _ in range(_EXITS):
            reason = self._vcpu.run(max_instructions=_LIMIT)
            self._check(reason, self._vcpu.instructions - first)
            if reason not in _DEVICE:
                break
            self._answer(reason)
            first = self._vcpu.instructions
        self.finished += 1
        return reason

    def _answer(self, reason: int) -> None:
        vcpu = self._vcpu
        if reason == x86.EXIT_IO and vcpu.io_direction == x86.EXIT_IO_IN:
            vcpu.io_data = vcpu.instructions & (1 << 8 * vcpu.io_size) - 1
        elif reason == x86.EXIT_MMIO and not vcpu.mmio_is_write:
            vcpu.mmio_data = 0xA5A5_A5A5 & (1 << 8 * vcpu.mmio_length) - 1

    def _check(self, reason: int, retired: int) -> None:
        vcpu = self._vcpu
        if reason not in _FINAL | _DEVICE:
            raise InvariantError(f"run() returned {x86.EXIT_NAMES.get(reason, reason)}")
        if not 0 <= retired <= _LIMIT:
            raise InvariantError(f"{retired} instructions retired, the limit was {_LIMIT}")
        # Exceptions in a row count towards the limit as well.
        if reason == x86.EXIT_LIMIT and retired != _LIMIT and vcpu.last_event < 0:
            raise InvariantError(f"EXIT_LIMIT after {retired} of {_LIMIT} instructions")
        for name in (*GENERAL, "eip", "eflags"):
            if not 0 <= (value := getattr(vcpu, name)) <= 0xFFFF_FFFF:
                raise InvariantError(f"{name} is {value:#x}")
        if vcpu.eflags & 0x8028 or not vcpu.eflags & 2:
            raise InvariantError(f"eflags is {vcpu.eflags:#x}: its reserved bits are fixed")
        for name in SEGMENTS:
            if not 0 <= getattr(vcpu, name).selector <= 0xFFFF:
                raise InvariantError(f"{name} is {getattr(vcpu, name).selector:#x}")
        if reason == x86.EXIT_IO and vcpu.io_size not in (1, 2, 4):
            raise InvariantError(f"a port access of {vcpu.io_size} bytes")
        if reason == x86.EXIT_MMIO and not (
            1 <= vcpu.mmio_length <= 8 and vcpu.mmio_address + vcpu.mmio_length > RAM
        ):
            raise InvariantError(
                f"EXIT_MMIO for {vcpu.mmio_length} bytes at {vcpu.mmio_address:#x}, which is RAM"
            )
