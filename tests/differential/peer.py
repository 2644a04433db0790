"""Unicorn's side of a comparison."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import unicorn
from numpy.typing import NDArray
from unicorn import x86_const

from tests.differential.case import Case, background
from tests.differential.disassembly import Mode, is_halt, is_repeated_string, length
from tests.differential.layout import AC, CR0, CS, DATA32, EFLAGS, EIP, GDT, IDT, RAM, REGISTERS
from tests.differential.outcome import Outcome, Stop

UD = 6
ERRORS = {
    unicorn.UC_ERR_READ_UNMAPPED: Stop.OUTSIDE,
    unicorn.UC_ERR_WRITE_UNMAPPED: Stop.OUTSIDE,
    unicorn.UC_ERR_FETCH_UNMAPPED: Stop.FETCH,
    unicorn.UC_ERR_INSN_INVALID: Stop.EXCEPTION,
}
#: An address that no case reaches: emulation ends otherwise.
_NOWHERE = 1 << 33
#: More than a case repeats a string operation.
_ITERATIONS = 0x1_0000
_REGISTER_IDS = tuple(getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in REGISTERS)


class _RegisterFile:
    """All registers of a case in one call each way.

    Unicorn's own batch calls take the arguments apart in Python at each call, which costs more than
    running the case; these arrays are built once.
    """

    def __init__(self, engine: unicorn.Uc) -> None:
        count = len(_REGISTER_IDS)
        self._engine = engine
        self._count = ctypes.c_int(count)
        self._ids = (ctypes.c_int * count)(*_REGISTER_IDS)
        self._values = (ctypes.c_uint64 * count)()
        first = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * count)(*(first + 8 * i for i in range(count)))

    def read(self) -> tuple[int, ...]:
        self._check(self._engine._do_reg_read_batch(self._ids, self._pointers, self._count))
        return tuple(self._values)

    def write(self, values: tuple[int, ...]) -> None:
        self._values[:] = list(values)
        self._check(self._engine._do_reg_write_batch(self._ids, self._pointers, self._count))

    def _check(self, status: int) -> None:
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)


class Peer:
    """A Unicorn engine over RAM of our own, used for one case after the other."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._background = background(mode)
        self._background64 = self._background.view(np.uint64)
        self._buffer = mmap.mmap(-1, RAM)
        self.ram: NDArray[np.uint8] = np.frombuffer(self._buffer, np.uint8)
        self.ram[:] = self._background
        self._ram64 = self.ram.view(np.uint64)
        self._vector = -1
        self._limit = 0
        self._outputs: list[tuple[int, int, int]] = []
        bits = unicorn.UC_MODE_16 if mode == "real" else unicorn.UC_MODE_32
        self._engine = engine = unicorn.Uc(unicorn.UC_ARCH_X86, bits)
        engine.ctl_set_cpu_model(x86_const.UC_CPU_X86_PENTIUM2)
        engine.mem_map_ptr(0, RAM, unicorn.UC_PROT_ALL, self.ram.ctypes.data)
        engine.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        insn = unicorn.UC_HOOK_INSN
        engine.hook_add(insn, self._on_in, None, 1, 0, x86_const.UC_X86_INS_IN)
        engine.hook_add(insn, self._on_out, None, 1, 0, x86_const.UC_X86_INS_OUT)
        if mode != "real":
            engine.reg_write(x86_const.UC_X86_REG_GDTR, (0, GDT, DATA32 + 7, 0))
            engine.reg_write(x86_const.UC_X86_REG_IDTR, (0, IDT, 0x7FF, 0))
        else:
            engine.reg_write(x86_const.UC_X86_REG_GDTR, (0, 0, 0xFFFF, 0))
            engine.reg_write(x86_const.UC_X86_REG_IDTR, (0, 0, 0x3FF, 0))
        engine.reg_write(x86_const.UC_X86_REG_CR0, CR0 | (mode != "real"))
        self._registers = _RegisterFile(engine)
        self._pristine = engine.context_save()

    def load(self, case: Case) -> None:
        """Put the case's state in place; RAM must be at its background."""
        for address, data in case.stores():
            self.ram[address : address + len(data)] = np.frombuffer(data, np.uint8)
        self._outputs.clear()
        self._enter(case.registers)

    def adopt(self, outcome: Outcome, ram: NDArray[np.uint8]) -> None:
        """Go on from where another has arrived."""
        self.ram[:] = ram
        self._outputs[:] = outcome.outputs
        self._enter(outcome.registers)

    def run(self, limit: int) -> Outcome:
        """Run to the end of the case, or for `limit` instructions."""
        return self._run(self._registers.read(), limit)

    def step(self) -> Outcome:
        """Run one instruction, a repeated one to its end. LIMIT means that the case goes on."""
        start = self._registers.read()
        code = self._fetch(start)
        outcome = self._run(start, 1)
        stuck = outcome.registers[:EFLAGS] == start[:EFLAGS]
        unfinished = is_repeated_string(code) and outcome.registers[EIP] == start[EIP]
        if outcome.stop in (Stop.HALT, Stop.LIMIT) and (unfinished or stuck):
            # To Unicorn each iteration is an instruction, and a store to the page of the code is
            # tried twice. What it has translated knows no end.
            self._engine.ctl_flush_tb()
            until = self._linear(start) + length(self.mode, code)
            outcome = self._run(outcome.registers, _ITERATIONS, until)
        if outcome.stop is Stop.FETCH and outcome.registers[EIP] != start[EIP]:
            # Unicorn looks for the next instruction before it comes back.
            return outcome._replace(stop=Stop.LIMIT)
        if outcome.stop in (Stop.HALT, Stop.LIMIT):
            return outcome._replace(stop=Stop.HALT if is_halt(code) else Stop.LIMIT)
        return outcome

    def restore(self, words: NDArray[np.intp] | None = None) -> None:
        """Put RAM back to the background; `words` are the 8-byte words that differ, if known."""
        if words is None:
            words = np.flatnonzero(self._ram64 != self._background64)
        self._ram64[words] = self._background64[words]

    def _enter(self, registers: tuple[int, ...]) -> None:
        # An exception that a hook took stays half delivered inside the engine and would make the
        # next one a double fault; the context has none.
        self._engine.context_restore(self._pristine)
        self._registers.write(registers)
        # The code was stored behind the engine's back.
        self._engine.ctl_flush_tb()

    def _fetch(self, registers: tuple[int, ...]) -> bytes:
        first = self._linear(registers)
        return self.ram[first : first + 15].tobytes()

    def _linear(self, registers: tuple[int, ...]) -> int:
        base = registers[CS] << 4 if self.mode == "real" else 0
        return base + registers[EIP]

    def _run(self, registers: tuple[int, ...], limit: int, until: int = _NOWHERE) -> Outcome:
        self._vector = -1
        stop = Stop.HALT
        try:
            self._engine.emu_start(self._linear(registers), until, 0, limit)
        except unicorn.UcError as error:
            stop = ERRORS.get(error.errno, Stop.OTHER)
            if stop is Stop.EXCEPTION:
                self._vector = UD
        after = self._registers.read()
        if self._vector >= 0:
            stop = Stop.EXCEPTION
            if self.mode == "real":
                # Delivery clears AC, and the frame has no room for it.
                after = (*after[:EFLAGS], after[EFLAGS] & ~AC)
        elif stop is Stop.HALT and not self._stands_behind_halt(after):
            stop = Stop.LIMIT
        return Outcome(stop, self._vector, after, tuple(self._outputs))

    def _stands_behind_halt(self, registers: tuple[int, ...]) -> bool:
        """Unicorn does not tell HLT from a limit reached; at a limit this may be wrong."""
        behind = self._linear(registers) - 1
        return 0 <= behind < RAM and self.ram[behind] == 0xF4

    def _on_interrupt(self, engine: unicorn.Uc, vector: int, _: Any) -> None:
        self._vector = vector
        engine.emu_stop()

    def _on_in(self, _engine: unicorn.Uc, _port: int, size: int, _: Any) -> int:
        return (1 << 8 * size) - 1

    def _on_out(self, _engine: unicorn.Uc, port: int, size: int, value: int, _: Any) -> None:
        self._outputs.append((port, size, value))
