"""What each exit comes to that has nothing to do with idleness: devices, and ends of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vmm import kvm
from vmm.board import Board
from vmm.devices import GuestExit, GuestReset
from vmm.result import Outcome
from x86core import EXIT_NAMES, VCPU

#: `VCPU.internal_error` when an instruction was to be fetched from outside RAM.
_NO_CODE = 1

#: D/B in `Segment.access`: a 32-bit segment.
_BIG = 1 << 14


class End(Protocol):
    """Ends the whole machine; of several calls the first one counts."""

    def __call__(self, outcome: Outcome, explanation: str, exit_code: int | None = None) -> None:
        """End it; `exit_code` is the guest's own, where it gave one."""


class Exits:
    """The exits of a vCPU, handled by what is on the board. `handlers` are by exit reason, and
    `unknown` is for the others.
    """

    def __init__(self, vcpu: VCPU, board: Board, end: End) -> None:
        self._vcpu = vcpu
        self._board = board
        self._end = end
        self.handlers: dict[int, Callable[[], None]] = {
            kvm.KVM_EXIT_IO: self._port,
            kvm.KVM_EXIT_MMIO: self._memory_mapped,
            kvm.KVM_EXIT_IRQ_WINDOW_OPEN: self._window_open,
            kvm.KVM_EXIT_IOAPIC_EOI: self._end_of_interrupt,
            kvm.KVM_EXIT_SHUTDOWN: self._triple_fault,
            kvm.KVM_EXIT_INTERNAL_ERROR: self._internal_error,
            kvm.KVM_EXIT_LIMIT: self._limit,
        }

    def unknown(self) -> None:
        """End the run: nobody here knows this exit."""
        reason = self._vcpu.exit_reason
        name = EXIT_NAMES.get(reason, str(reason))
        self._end_here(Outcome.INTERNAL_ERROR, f"gave exit {name}, which this VMM does not handle,")

    def _port(self) -> None:
        vcpu = self._vcpu
        if vcpu.io_direction == kvm.KVM_EXIT_IO_IN:
            vcpu.io_data = self._board.ports.read(vcpu.io_port, vcpu.io_size)
            return
        try:
            self._board.ports.write(vcpu.io_port, vcpu.io_size, vcpu.io_data)
        except GuestExit as request:
            self._end_here(
                Outcome.EXIT_PORT, f"wrote {request.code} to the exit port", request.code
            )
        except GuestReset:
            self._end_here(Outcome.RESET, "reset the machine")

    def _memory_mapped(self) -> None:
        vcpu, memory_map = self._vcpu, self._board.memory_map
        if vcpu.mmio_is_write:
            memory_map.store(vcpu.mmio_address, vcpu.mmio_length, vcpu.mmio_data)
        else:
            vcpu.mmio_data = memory_map.load(vcpu.mmio_address, vcpu.mmio_length)

    def _window_open(self) -> None:
        if self._board.pc is None:
            self.unknown()
        else:
            self._board.pc.open_window()

    def _end_of_interrupt(self) -> None:
        if self._board.pc is None:
            self.unknown()
        else:
            self._board.pc.end_of_interrupt(self._vcpu.eoi_vector)

    def _triple_fault(self) -> None:
        self._end_here(Outcome.SHUTDOWN, "triple-faulted")

    def _internal_error(self) -> None:
        if self._vcpu.internal_error == _NO_CODE:
            what = "has no memory to fetch code from"
        else:
            what = f"cannot go on, internal error {self._vcpu.internal_error},"
        self._end_here(Outcome.INTERNAL_ERROR, what)

    def _limit(self) -> None:
        self._end_here(Outcome.INSTRUCTION_LIMIT, "reached the instruction limit")

    def _end_here(self, outcome: Outcome, what: str, exit_code: int | None = None) -> None:
        vcpu = self._vcpu
        self._end(outcome, f"vCPU {vcpu.index} {what} at {location(vcpu)}", exit_code)


def location(vcpu: VCPU) -> str:
    """cs:eip in hex, with the offset as wide as the code segment's addresses."""
    digits = 8 if is_32_bit(vcpu) else 4
    return f"{vcpu.cs.selector:04X}:{vcpu.eip:0{digits}X}"


def is_32_bit(vcpu: VCPU) -> bool:
    """Whether its code segment is of 32 bits (CS.D)."""
    return bool(vcpu.cs.access & _BIG)
