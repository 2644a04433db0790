"""The core's side of a comparison."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

import x86core as x86
from tests.differential.case import Case, background
from tests.differential.disassembly import Mode, is_repeated_string
from tests.differential.layout import (
    CR0,
    CS,
    DATA32,
    EFLAGS,
    EIP,
    ESP,
    GDT,
    GENERAL,
    HANDLERS,
    IDT,
    RAM,
    SEGMENTS,
    SS,
)
from tests.differential.outcome import Outcome, Stop

_STOPS = {
    x86.EXIT_HLT: Stop.HALT,
    x86.EXIT_LIMIT: Stop.LIMIT,
    x86.EXIT_IO: Stop.LIMIT,
    x86.EXIT_MMIO: Stop.OUTSIDE,
    x86.EXIT_SHUTDOWN: Stop.SHUTDOWN,
    x86.EXIT_INTERNAL_ERROR: Stop.FETCH,
}
#: Exceptions that push an error code in protected mode (SDM vol. 3, table 6-1).
ERROR_CODES = {8, 10, 11, 12, 13, 14, 17}
_FETCH_WINDOW = 15
#: From here on one store of all RAM is quicker than a store for each word.
_MANY_WORDS = 500
#: Exits for ports that a case may take.
_PORT_ACCESSES = 1000


class Core:
    """A vCPU and its RAM, used for one case after the other."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._memory = x86.Memory(RAM)
        self._background = background(mode)
        self._background64 = self._background.view(np.uint64)
        self._memory.write(0, self._background.tobytes())
        self.vcpu = x86.VCPU(self._memory)
        self.ram: NDArray[np.uint8] = self._memory.view()
        self._ram64 = self.ram.view(np.uint64)
        self._segments = tuple(getattr(self.vcpu, name) for name in SEGMENTS)
        self._outputs: list[tuple[int, int, int]] = []
        self._ports = 0
        #: Instructions that all calls of run() retired.
        self.instructions = 0
        #: The addresses that the delivery of an exception wrote to, below the stack.
        self.frame: list[int] = []

    def load(self, case: Case) -> None:
        """Put the case's state in place; RAM must be at its background."""
        vcpu, registers = self.vcpu, case.registers
        if self.mode == "real":
            vcpu.start_real_mode(cs=registers[CS], ip=registers[EIP])
            for segment, selector in zip(self._segments, registers[8:14], strict=True):
                segment.selector = selector
                segment.base = selector << 4
        else:
            vcpu.start_flat32(eip=registers[EIP], esp=registers[ESP])
            vcpu.gdt_base, vcpu.gdt_limit = GDT, DATA32 + 7
            vcpu.idt_base, vcpu.idt_limit = IDT, 0x7FF
            for segment, selector in zip(self._segments, registers[8:14], strict=True):
                segment.selector = selector
        vcpu.cr0 = CR0 | (self.mode == "flat32")
        for name, value in zip(GENERAL, registers, strict=False):
            setattr(vcpu, name, value)
        vcpu.eflags = registers[EFLAGS]
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT | x86.USERSPACE_EXIT_MWAIT
        self._outputs.clear()
        self._ports = 0
        self.frame = []
        for address, data in case.stores():
            self._memory.write(address, data)

    def run(self, limit: int) -> Outcome:
        """Run to the end of the case, or for `limit` instructions."""
        vcpu = self.vcpu
        start, reason = vcpu.instructions, x86.EXIT_LIMIT
        while (left := start + limit - vcpu.instructions) > 0 and self._ports < _PORT_ACCESSES:
            reason = vcpu.run(max_instructions=left)
            if reason != x86.EXIT_IO:
                break
            self._answer_port()
        self.instructions += vcpu.instructions - start
        return self._outcome(_STOPS.get(reason, Stop.OTHER))

    def step(self) -> Outcome:
        """Run one instruction, a repeated one to its end. LIMIT means that the case goes on."""
        vcpu, code, start = self.vcpu, self.fetch(), self._position()
        while True:
            reason = vcpu.run(max_instructions=1)
            if reason == x86.EXIT_IO:
                self._answer_port()
            elif reason != x86.EXIT_LIMIT or not self._midway(code, start):
                break
        if reason == x86.EXIT_LIMIT and self._vector() >= 0:
            reason = vcpu.run(max_instructions=1)
        return self._outcome(_STOPS.get(reason, Stop.OTHER))

    def fetch(self) -> bytes:
        """The bytes at CS:EIP, as many as an instruction can have and RAM holds."""
        first = self._segments[1].base + self.vcpu.eip
        return self.ram[first : first + _FETCH_WINDOW].tobytes()

    def registers(self) -> tuple[int, ...]:
        """In the order of `case.REGISTERS`."""
        v, (es, cs, ss, ds, fs, gs) = self.vcpu, self._segments
        return (
            *(v.eax, v.ecx, v.edx, v.ebx, v.esp, v.ebp, v.esi, v.edi),
            *(es.selector, cs.selector, ss.selector, ds.selector, fs.selector, gs.selector),
            *(v.eip, v.eflags),
        )

    def restore(self) -> NDArray[np.intp]:
        """Put RAM back to the background; the numbers of the 8-byte words that differed."""
        words = np.flatnonzero(self._ram64 != self._background64)
        if len(words) > _MANY_WORDS:
            self._memory.write(0, self._background.tobytes())
        else:
            for word in words.tolist():
                first = word * 8
                self._memory.write(first, self._background[first : first + 8].tobytes())
        return words

    def _answer_port(self) -> None:
        vcpu = self.vcpu
        self._ports += 1
        if vcpu.io_direction == x86.EXIT_IO_IN:
            vcpu.io_data = (1 << 8 * vcpu.io_size) - 1
        else:
            self._outputs.append((vcpu.io_port, vcpu.io_size, vcpu.io_data))

    def _position(self) -> tuple[int, int]:
        return self._segments[1].base, self.vcpu.eip

    def _midway(self, code: bytes, start: tuple[int, int]) -> bool:
        """Whether a repeated instruction stopped between two of its iterations."""
        return self._position() == start and is_repeated_string(code)

    def _vector(self) -> int:
        """The vector at whose handler the vCPU stands or has just halted, or -1."""
        vector = self._segments[1].base + self.vcpu.eip - HANDLERS
        return vector if 0 <= vector < 256 else -1

    def _outcome(self, stop: Stop) -> Outcome:
        registers, vector = self.registers(), -1
        if stop is Stop.HALT:
            vector = self._segments[1].base + registers[EIP] - 1 - HANDLERS
            if 0 <= vector < 256 and self.mode == "flat32" and registers[ESP] > RAM - 16:
                stop, vector = Stop.OUTSIDE, -1
            elif 0 <= vector < 256:
                stop = Stop.EXCEPTION
                registers = self._before_delivery(registers, vector)
            else:
                vector = -1
        return Outcome(stop, vector, registers, tuple(self._outputs))

    def _before_delivery(self, registers: tuple[int, ...], vector: int) -> tuple[int, ...]:
        """Undo the delivery of an exception, the pushed bytes apart: they lie below the stack."""
        values, esp = list(registers), registers[ESP]
        if self.mode == "real":
            base = registers[SS] << 4
            self.frame = [base + (esp + i & 0xFFFF) for i in range(6)]
            ip, cs, flags = struct.unpack("<3H", self.ram[self.frame].tobytes())
            values[ESP] = esp & ~0xFFFF | esp + 6 & 0xFFFF
            values[CS], values[EIP] = cs, ip
            values[EFLAGS] = registers[EFLAGS] & ~0xFFFF | flags  # AC is lost
            return tuple(values)
        frame = struct.unpack("<4I", self.ram[esp : esp + 16].tobytes())
        interrupt = bytes((0xCD, vector))
        before_return = self.ram[max(frame[0] - 2, 0) : frame[0]].tobytes()
        size = 12
        if vector in ERROR_CODES and before_return != interrupt:
            frame, size = frame[1:], 16
        self.frame = list(range(esp, esp + size))
        values[EIP], values[CS], values[EFLAGS] = frame[0], frame[1] & 0xFFFF, frame[2]
        values[ESP] = esp + size
        return tuple(values)
