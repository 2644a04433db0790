"""Unicorn's side of a comparison in protected mode with paging.

Hidden parts of segment registers, the privilege level and error codes have no place in Unicorn's
register interface, so all state goes through a saved context, whose data are the CPUX86State of the
QEMU inside (target/i386/cpu.h, the same from QEMU 2.10 to 5.1). `_Layout` finds it and checks it.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

import unicorn
from unicorn import unicorn_const, x86_const

from tests.differential.core import ERROR_CODES
from tests.differential.disassembly import Mode, is_halt, is_repeated_string
from tests.differential.layout import (
    CR0_AT,
    CR2_AT,
    CS,
    EFLAGS,
    EIP,
    GDT,
    GENERAL,
    HIDDEN,
    IDT,
    LDTR,
    RAM,
    SEGMENTS,
    SS,
    TR,
    hidden,
)
from tests.differential.outcome import Outcome, Stop
from tests.differential.paging import physical, read_linear
from tests.differential.peer import ERRORS, UD, Peer
from tests.differential.protection import GDT_LIMIT

_FETCH_WINDOW = 15
#: Of a context's header, before the CPUX86State.
_HEADER: Final = 40
# Offsets in CPUX86State.
_EIP, _EFLAGS, _HFLAGS, _SEGMENTS, _LDT, _TR, _CONTROLS = 128, 136, 176, 184, 328, 352, 424
_ARITHMETIC, _DF = 0x8D5, 0x400
#: CC_OP_EFLAGS: the arithmetic flags stand in cc_src.
_FLAGS_AS_THEY_ARE = 1
#: Bits of hflags, what EFLAGS and CR0 have of them apart.
_CS32, _SS32, _ADD_SEGMENT, _PROTECTED = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_PF = 14
#: In the type of a TSS.
_BUSY = 2
_MARKER: Final = 0x1234_5670


class _Registers:
    """All registers of a case, and the error code, through a context of the engine."""

    def __init__(self, engine: unicorn.Uc) -> None:
        self._engine = engine
        self._context = engine.context_save()
        start = ctypes.cast(self._context.context, ctypes.c_void_p).value
        assert start is not None
        self._data = start + _HEADER
        self._error_at = self._find()

    def read(self) -> tuple[int, ...]:
        """In the order of `layout.PAGED_REGISTERS`."""
        self._engine.context_update(self._context)
        data = ctypes.string_at(self._data, _CONTROLS + 40)
        general = struct.unpack_from("<8Q", data)
        segments = [struct.unpack_from("<I4xQII", data, _SEGMENTS + 24 * n) for n in range(6)]
        system = [struct.unpack_from("<I4xQII", data, at) for at in (_LDT, _TR)]
        cr0, _, cr2, cr3, cr4 = struct.unpack_from("<5Q", data, _CONTROLS)
        values = [*general, *(selector for selector, *_ in segments)]
        # It may stand there with its sign extended, behind a jump that has written itself.
        values.append(struct.unpack_from("<Q", data, _EIP)[0] & 0xFFFF_FFFF)
        values.append(self._engine.reg_read(x86_const.UC_X86_REG_EFLAGS))
        for _, base, limit, flags in segments:
            values += (base, limit, flags >> 8 & 0xF0FF)
        values += (selector for selector, *_ in system)
        for selector, base, limit, flags in system:
            # LLDT of a null selector leaves the old flags there, and nothing reads them.
            values += (base, limit, flags >> 8 & 0xF0FF if selector & 0xFFFC else 0)
        if values[-1]:
            values[-1] |= _BUSY
        return (*values, cr0, cr2, cr3, cr4)

    def error(self) -> tuple[int, bool]:
        """The error code of the last exception, and whether it was an INT n."""
        self._engine.context_update(self._context)
        code, software = struct.unpack("<Ii", ctypes.string_at(self._data + self._error_at, 8))
        return code, bool(software)

    def write(self, values: tuple[int, ...]) -> None:
        """Enter a state; the engine forgets all translations."""
        self._put(0, "<8Q", *values[: len(GENERAL)])
        eflags = values[EFLAGS]
        direction = -1 if eflags & _DF else 1
        self._put(
            _EIP,
            "<QQQQQIiI",
            values[EIP],
            eflags,
            *(0, eflags & _ARITHMETIC, 0, _FLAGS_AS_THEY_ARE, direction),
            _hidden_flags(values),
        )
        for number in range(6):
            part = HIDDEN + 3 * number
            selector = values[len(GENERAL) + number]
            self._put_segment(_SEGMENTS + 24 * number, selector, *values[part : part + 3])
        for at, where in ((LDTR, _LDT), (TR, _TR)):
            part = LDTR + 2 + 3 * (at - LDTR)
            base, limit, access = values[part : part + 3]
            # QEMU aborts the process when it finds its TSS marked busy here.
            self._put_segment(where, values[at], base, limit, access & ~(at == TR and _BUSY))
        cr0, cr2, cr3, cr4 = values[CR0_AT:]
        self._put(_CONTROLS, "<5Q", cr0, 0, cr2, cr3, cr4)
        self._engine.context_restore(self._context)
        self._engine.ctl(unicorn_const.UC_CTL_TLB_FLUSH, unicorn_const.UC_CTL_IO_WRITE)

    def renew(self, context: unicorn.unicorn_py3.unicorn.UcContext) -> None:
        """Begin again from a context."""
        self._engine.context_restore(context)
        self._engine.context_update(self._context)

    def _put(self, at: int, form: str, *values: int) -> None:
        data = struct.pack(form, *values)
        ctypes.memmove(self._data + at, data, len(data))

    def _put_segment(self, at: int, selector: int, base: int, limit: int, access: int) -> None:
        self._put(at, "<I4xQII", selector, base, limit, access << 8)

    def _find(self) -> int:
        """Where the error code is. Raises RuntimeError when this Unicorn has another layout."""
        engine = self._engine
        engine.reg_write(x86_const.UC_X86_REG_EDI, _MARKER)
        engine.reg_write(x86_const.UC_X86_REG_TR, (0x48, _MARKER + 1, 0x67, 0x8900))
        engine.reg_write(x86_const.UC_X86_REG_CR2, _MARKER + 2)
        engine.reg_write(x86_const.UC_X86_REG_DR0, _MARKER + 3)
        engine.context_update(self._context)
        data = ctypes.string_at(self._data, self._context.size - _HEADER)
        places = {56: 0, _TR + 8: 1, _CONTROLS + 16: 2}
        right = (struct.unpack_from("<I", data, at)[0] == _MARKER + n for at, n in places.items())
        debug = data.find(struct.pack("<Q", _MARKER + 3))
        if debug < 0 or not all(right):
            raise RuntimeError("this Unicorn keeps its state otherwise; take unicorn 2.1.4")
        # error_code, exception_is_int, and 64 bits of exception_next_eip.
        return debug - 16


def _hidden_flags(values: tuple[int, ...]) -> int:
    """What QEMU derives from segments and CR0 (hflags)."""
    cr0 = values[CR0_AT]
    flags = values[CS] & 3 | _PROTECTED | (cr0 & 0xE) << 8
    if values[hidden(CS) + 2] & 0x4000:
        flags |= _CS32
    if values[hidden(SS) + 2] & 0x4000:
        flags |= _SS32
    bases = (values[HIDDEN + 3 * SEGMENTS.index(name)] for name in ("ds", "es", "ss"))
    if any(bases) or not flags & _CS32:
        flags |= _ADD_SEGMENT
    return flags


class PagedPeer(Peer):
    """A Unicorn engine that is compared with its hidden registers."""

    def __init__(self) -> None:
        super().__init__("paged")
        engine = self._engine
        engine.reg_write(x86_const.UC_X86_REG_GDTR, (0, GDT, GDT_LIMIT, 0))
        engine.reg_write(x86_const.UC_X86_REG_IDTR, (0, IDT, 0x7FF, 0))
        # With an address to stop at Unicorn walks the page tables for it, and spoils CR2.
        engine.ctl_exits_enabled(True)
        self._pristine = engine.context_save()
        self._state = _Registers(engine)

    def step(self) -> Outcome:
        """Run one instruction, a repeated one to its end. LIMIT means that the case goes on."""
        start = self._state.read()
        linear = start[hidden(CS)] + start[EIP]
        code = read_linear(self.ram, start, linear, _FETCH_WINDOW)
        outcome = self._paged_run(start, 1)
        for _ in range(0x1_0000):
            # To Unicorn each iteration is an instruction.
            unfinished = is_repeated_string(code) and outcome.registers[EIP] == start[EIP]
            if outcome.stop not in (Stop.HALT, Stop.LIMIT) or not unfinished:
                break
            outcome = self._paged_run(outcome.registers, 1)
        moved = outcome.registers[EIP] != start[EIP]
        if moved and (outcome.stop is Stop.FETCH or self._faults_at(outcome)):
            # Unicorn looks for the next instruction before it comes back.
            registers = list(outcome.registers)
            registers[CR2_AT] = start[CR2_AT]
            self._enter(tuple(registers))
            return outcome._replace(stop=Stop.LIMIT, vector=-1, error=0, registers=tuple(registers))
        if outcome.stop in (Stop.HALT, Stop.LIMIT):
            return outcome._replace(stop=Stop.HALT if is_halt(code) else Stop.LIMIT)
        return outcome

    def _faults_at(self, outcome: Outcome) -> bool:
        """Whether this is a page fault at the instruction to come."""
        registers = outcome.registers
        linear = registers[hidden(CS)] + registers[EIP] & 0xFFFF_FFFF
        # Unicorn's has more bits where the base of CS takes it beyond 4 GiB.
        fetched = registers[CR2_AT] & 0xFFFF_FFFF in (linear, (linear | 0xFFF) + 1 & 0xFFFF_FFFF)
        return outcome.vector == _PF and fetched and not self._state.error()[1]

    def run(self, limit: int) -> Outcome:
        """Run to the end of the case, or for `limit` instructions."""
        return self._paged_run(self._state.read(), limit)

    def _enter(self, registers: tuple[int, ...]) -> None:
        self._state.renew(self._pristine)
        self._state.write(registers)
        self._engine.ctl_flush_tb()

    def _paged_run(self, registers: tuple[int, ...], limit: int) -> Outcome:
        self._vector = -1
        stop, error = Stop.HALT, 0
        try:
            self._engine.emu_start(registers[EIP], 0, 0, limit)
        except unicorn.UcError as raised:
            stop = ERRORS.get(raised.errno, Stop.OTHER)
            if stop is Stop.EXCEPTION:
                self._vector = UD
        after = self._state.read()
        if self._vector >= 0:
            stop = Stop.EXCEPTION
            code, software = self._state.error()
            if self._vector in ERROR_CODES and not software:
                error = code
        elif stop is Stop.HALT and not self._behind_halt(after):
            stop = Stop.LIMIT
        return Outcome(stop, self._vector, after, tuple(self._outputs), error)

    def _behind_halt(self, registers: tuple[int, ...]) -> bool:
        linear = registers[hidden(CS)] + registers[EIP] - 1
        behind = physical(self.ram, registers, linear)
        return 0 <= behind < RAM and self.ram[behind] == 0xF4


def make_peer(mode: Mode) -> Peer:
    """Unicorn's side of a mode."""
    return PagedPeer() if mode == "paged" else Peer(mode)
