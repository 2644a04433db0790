"""The core's side of a comparison in protected mode with paging."""

from __future__ import annotations

import struct

import x86core as x86
from tests.differential.case import Case
from tests.differential.core import ERROR_CODES, Core
from tests.differential.disassembly import Mode
from tests.differential.layout import (
    CONTROLS,
    CR0_AT,
    CS,
    EFLAGS,
    EIP,
    ESP,
    GDT,
    GENERAL,
    HANDLERS,
    HIDDEN,
    IDT,
    LDTR,
    RAM,
    SS,
    TR,
    hidden,
)
from tests.differential.outcome import UNKNOWN, Outcome, Stop
from tests.differential.paging import physical, read_linear, translate
from tests.differential.protection import GDT_LIMIT

_FETCH_WINDOW = 15
#: An error code, EIP, CS, EFLAGS, ESP and SS.
_LARGEST_FRAME = 24


class PagedCore(Core):
    """A vCPU that is compared with its hidden registers."""

    def __init__(self) -> None:
        super().__init__("paged")
        self._system_segments = (self.vcpu.ldtr, self.vcpu.tr)

    def load(self, case: Case) -> None:
        """Put the case's state in place; RAM must be at its background."""
        for address, data in case.stores():
            self._memory.write(address, data)
        vcpu, registers = self.vcpu, case.registers
        vcpu.start_flat32(eip=registers[EIP], esp=registers[ESP])
        vcpu.gdt_base, vcpu.gdt_limit = GDT, GDT_LIMIT
        vcpu.idt_base, vcpu.idt_limit = IDT, 0x7FF
        for name, value in zip(GENERAL, registers, strict=False):
            setattr(vcpu, name, value)
        vcpu.eflags = registers[EFLAGS]
        for number, segment in enumerate(self._segments, len(GENERAL)):
            at = hidden(number)
            _set(segment, registers[number], *registers[at : at + 3])
        for segment, at in zip(self._system_segments, (LDTR, TR), strict=True):
            part = _system_part(at)
            _set(segment, registers[at], *registers[part : part + 3])
        cr0, vcpu.cr2, vcpu.cr3, vcpu.cr4 = registers[CR0_AT:]
        vcpu.cr0 = cr0
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT | x86.USERSPACE_EXIT_MWAIT
        self._outputs.clear()
        self._ports = 0
        self.frame = []

    def fetch(self) -> bytes:
        """The bytes at CS:EIP, as many as an instruction can have and can be reached."""
        registers = self.registers()
        linear = registers[hidden(CS)] + registers[EIP]
        return read_linear(self.ram, registers, linear, _FETCH_WINDOW)

    def registers(self) -> tuple[int, ...]:
        """In the order of `layout.PAGED_REGISTERS`."""
        values = list(super().registers())
        for segment in self._segments:
            values += (segment.base, segment.limit, segment.access)
        ldtr, tr = self._system_segments
        values += (ldtr.selector, tr.selector)
        for segment in self._system_segments:
            values += (segment.base, segment.limit, segment.access)
        values += (getattr(self.vcpu, name) for name in CONTROLS)
        return tuple(values)

    def _outcome(self, stop: Stop) -> Outcome:
        registers = self.registers()
        vector = registers[EIP] - 1 - HANDLERS
        if stop is not Stop.HALT or registers[hidden(CS)] or not 0 <= vector < 256:
            return Outcome(stop, -1, registers, tuple(self._outputs))
        if not self._pushed_to_ram(registers):
            return Outcome(Stop.OUTSIDE, -1, registers, tuple(self._outputs))
        error, registers = self._undo_delivery(registers, vector)
        return Outcome(Stop.EXCEPTION, vector, registers, tuple(self._outputs), error)

    def _pushed_to_ram(self, registers: tuple[int, ...]) -> bool:
        """Whether the largest frame that an exception pushes lies in RAM, and not behind it."""
        stack = hidden(SS)
        mask = 0xFFFF_FFFF if registers[stack + 2] & 0x4000 else 0xFFFF
        ends = (registers[stack] + (registers[ESP] + end & mask) for end in (0, _LARGEST_FRAME - 1))
        return all(physical(self.ram, registers, end) < RAM for end in ends)

    def _undo_delivery(
        self, registers: tuple[int, ...], vector: int
    ) -> tuple[int, tuple[int, ...]]:
        """The error code, and the registers before anything was pushed; UNKNOWN where lost."""
        values, stack = list(registers), hidden(SS)
        mask = 0xFFFF_FFFF if registers[stack + 2] & 0x4000 else 0xFFFF
        # INT n of such a vector pushes none, and is no event to the core.
        has_error = self.vcpu.last_event == vector and vector in ERROR_CODES
        esp = registers[ESP]

        def frame(words: int) -> tuple[int, ...]:
            linear = (registers[stack] + (esp + i & mask) for i in range(4 * words))
            self.frame = [physical(self.ram, registers, at) for at in linear]
            return struct.unpack(f"<{words}I", self.ram[self.frame].tobytes())

        words = frame(3 + has_error)
        inner = words[1 + has_error] & 3 != 0
        if inner:
            words = frame(5 + has_error)
            values[ESP], values[SS] = words[-2], words[-1] & 0xFFFF
            values[stack : stack + 3] = [UNKNOWN] * 3
        else:
            values[ESP] = esp & ~mask | esp + 4 * len(words) & mask
        values[hidden(CS) : hidden(CS) + 3] = [UNKNOWN] * 3
        values[EIP], values[CS], values[EFLAGS] = words[has_error : 3 + has_error]
        values[CS] &= 0xFFFF
        for offset in (esp & mask, esp + 4 * len(words) - 1 & mask):
            # The push has marked these, which is no part of what the instruction did.
            for entry in translate(self.ram, registers, registers[stack] + offset).entries:
                self.frame += range(entry, entry + 4)
        return words[0] if has_error else 0, tuple(values)


def _system_part(at: int) -> int:
    return HIDDEN + 18 + 2 + 3 * (at - LDTR)


def _set(segment: x86.Segment, selector: int, base: int, limit: int, access: int) -> None:
    segment.selector = selector
    segment.base = base
    segment.limit = limit
    segment.access = access


def make_core(mode: Mode) -> Core:
    """The core's side of a mode."""
    return PagedCore() if mode == "paged" else Core(mode)
