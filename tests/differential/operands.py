"""Where an instruction accesses memory, by its disassembly and the registers before it."""

from __future__ import annotations

import re
from typing import NamedTuple

import capstone
import numpy as np
from capstone import x86_const
from numpy.typing import NDArray

from tests.differential.disassembly import MODES, Mode, opcode, without
from tests.differential.layout import CS, EAX, EBX, EIP, REGISTERS, SS, hidden
from tests.differential.paging import physical

_DS = REGISTERS.index("ds")
_SEGMENT_PREFIXES = {
    prefix: REGISTERS.index(name)
    for prefix, name in zip(b"\x26\x2e\x36\x64\x65", ("es", "cs", "ss", "fs", "gs"), strict=True)
}


class Access(NamedTuple):
    """An access of `size` bytes at an offset into a segment (an index into a case's registers)."""

    segment: int
    offset: int
    size: int
    written: bool


_WRITERS = re.compile(
    r"ro[lr]|rc[lr]|sa[lr]|sh[lr]d?|set\w+|dec|inc|not|neg|ins[bwd]|cmpxchg(8b)?|xadd|bt[rsc]"
    r"|s[gil]dt|smsw|str|arpl"
)


def _detailed(mode: Mode) -> capstone.Cs:
    bits = capstone.CS_MODE_16 if mode == "real" else capstone.CS_MODE_32
    decoder = capstone.Cs(capstone.CS_ARCH_X86, bits)
    decoder.detail = True
    return decoder


_DECODERS = {mode: _detailed(mode) for mode in MODES}


def _value(decoder: capstone.Cs, register: int, registers: tuple[int, ...]) -> int:
    """Of a general register or its lower half; 0 for none."""
    name = decoder.reg_name(register)
    if name is None:
        return 0
    if name in REGISTERS:
        return registers[REGISTERS.index(name)]
    return registers[REGISTERS.index(f"e{name}")] & 0xFFFF


def _bit_string_offset(
    decoder: capstone.Cs, instruction: capstone.CsInsn, size: int, registers: tuple[int, ...]
) -> int:
    """How far from its address BT and its kin reach for a bit whose number is in a register."""
    name = instruction.mnemonic.rpartition(" ")[2]
    last = instruction.operands[-1]
    if not re.fullmatch("bt[src]?", name) or last.type != x86_const.X86_OP_REG:
        return 0
    bits = 8 * size
    number = _value(decoder, last.reg, registers) & (1 << bits) - 1
    if number >> (bits - 1):
        number -= 1 << bits
    return number // bits * size


def accesses(mode: Mode, code: bytes, registers: tuple[int, ...]) -> list[Access]:
    """The accesses to the memory operands of one instruction, of a repeated one its first."""
    narrow = mode == "paged" and not registers[hidden(CS) + 2] & 0x4000
    decoder = _DECODERS["real" if narrow else mode]
    # Capstone does not decode REP before some instructions that ignore it, or sees other operands.
    plain = code.lstrip(b"\xf0\xf2\xf3")
    candidates = [code, plain, without(code, b"\xf2"), without(code, b"\xf3")]
    if opcode(code)[0] == 0x0F:
        candidates.insert(0, without(code, b"\xf2\xf3"))
    decoded = (next(decoder.disasm(candidate, 0, 1), None) for candidate in candidates)
    instruction = next(filter(None, decoded), None)
    if instruction is None:
        return []
    mask = 0xFFFF if instruction.addr_size == 2 else 0xFFFF_FFFF
    if instruction.mnemonic.endswith("xlatb"):
        # Capstone does not tell its operand.
        segment = _SEGMENT_PREFIXES.get(instruction.prefix[1], _DS)
        return [Access(segment, registers[EBX] + (registers[EAX] & 0xFF) & mask, 1, False)]
    found = []
    for operand in instruction.operands:
        if operand.type != x86_const.X86_OP_MEM:
            continue
        memory = operand.mem
        base_name = decoder.reg_name(memory.base) if memory.base else ""
        offset = memory.disp
        offset += _value(decoder, memory.base, registers)
        offset += _value(decoder, memory.index, registers) * memory.scale
        if memory.segment:
            segment = REGISTERS.index(decoder.reg_name(memory.segment))
        else:
            segment = SS if base_name in ("bp", "ebp", "esp", "sp") else _DS
        offset += _bit_string_offset(decoder, instruction, operand.size, registers)
        written = bool(operand.access & capstone.CS_AC_WRITE)
        # Capstone marks these operands as read only.
        written |= _WRITERS.fullmatch(instruction.mnemonic.rpartition(" ")[2]) is not None
        found.append(Access(segment, offset & mask, operand.size, written))
    return found


def segment_base(mode: Mode, registers: tuple[int, ...], segment: int) -> int:
    """Of a segment register, as the case began or in its middle."""
    if mode == "paged":
        return registers[hidden(segment)]
    return registers[segment] << 4 if mode == "real" else 0


def stores_to_its_page(
    mode: Mode, code: bytes, registers: tuple[int, ...], ram: NDArray[np.uint8]
) -> bool:
    """Whether the instruction writes to a page that it lies in."""

    def pages(segment: int, offset: int, size: int) -> set[int]:
        first = offset + segment_base(mode, registers, segment)
        ends = first, first + size - 1
        return {physical(ram, registers, end) >> 12 for end in ends}

    own = pages(CS, registers[EIP], len(code))
    return any(
        access.written and not own.isdisjoint(pages(access.segment, access.offset, access.size))
        for access in accesses(mode, code, registers)
    )
