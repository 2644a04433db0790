"""What is run on both sides: a mode, registers, instructions, and bytes of memory."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.differential import protection
from tests.differential.disassembly import Mode, disassemble
from tests.differential.layout import (
    CODE,
    CODE32,
    CS,
    DATA,
    DATA32,
    DATA_END,
    EIP,
    GDT,
    GENERAL,
    HANDLERS,
    HLT,
    IDT,
    PAGED_REGISTERS,
    RAM,
    REGISTERS,
    SEGMENTS,
    hidden,
)

_REAL: Final = {
    **dict.fromkeys(GENERAL, 0),
    "es": 0x4000,
    "cs": CODE >> 4,
    "ss": 0x5000,
    "ds": 0x3000,
    "fs": 0x6000,
    "gs": 0x7000,
    "esp": 0x8000,
    "eip": 0x1000,
    "eflags": 2,
}
_FLAT32: Final = {
    **dict.fromkeys(GENERAL, 0),
    **dict.fromkeys(SEGMENTS, DATA32),
    "cs": CODE32,
    "esp": 0x5_8000,
    "eip": CODE + 0x1000,
    "eflags": 2,
}
_DEFAULTS: Final[dict[Mode, dict[str, int]]] = {
    "real": _REAL,
    "flat32": _FLAT32,
    "paged": _FLAT32 | protection.SYSTEM_STATE,
}


def register_names(mode: Mode) -> tuple[str, ...]:
    """The registers of a case, in order; REGISTERS in every mode first."""
    return PAGED_REGISTERS if mode == "paged" else REGISTERS


def default_registers(mode: Mode) -> tuple[int, ...]:
    """What the registers hold in a case that does not say, in the order of its names."""
    return tuple(_DEFAULTS[mode][name] for name in register_names(mode))


@dataclass(frozen=True, slots=True)
class Case:
    """Instructions and the state in which the first of them begins.

    A HLT follows the last instruction. `registers` is in the order of register_names; `memory`
    holds what is stored over the background, by physical address.
    """

    mode: Mode
    instructions: tuple[bytes, ...]
    registers: tuple[int, ...]
    memory: Mapping[int, bytes] = field(default_factory=dict)

    def stores(self) -> Iterator[tuple[int, bytes]]:
        """What is put into memory, by address.

        A NOP stands before the code, so that a loop back to its start is no HLT to Unicorn's side.
        """
        yield self.code_address - 1, b"\x90" + self.code
        yield from self.memory.items()

    @property
    def code(self) -> bytes:
        """The bytes at CS:EIP."""
        return b"".join(self.instructions) + HLT

    @property
    def code_address(self) -> int:
        """The physical address of the first instruction."""
        if self.mode == "paged":
            # The page tables map all code to where it is, modulo 4 MiB.
            return (self.registers[hidden(CS)] + self.registers[EIP]) & 0x3F_FFFF
        base = self.registers[CS] << 4 if self.mode == "real" else 0
        return base + self.registers[EIP]


def case(
    mode: Mode, *instructions: str, memory: Mapping[int, str] | None = None, **registers: int
) -> Case:
    """A case in the notation that the report prints: bytes in hexadecimal, registers by name."""
    values = _DEFAULTS[mode] | registers
    return Case(
        mode,
        tuple(bytes.fromhex(instruction) for instruction in instructions),
        tuple(values[name] for name in register_names(mode)),
        {address: bytes.fromhex(data) for address, data in (memory or {}).items()},
    )


def level3(*instructions: str, memory: Mapping[int, str] | None = None, **registers: int) -> Case:
    """A case in paged mode at privilege level 3, with flat segments."""
    state = {"cs": protection.code_selector(3), "ss": protection.data_selector(3)}
    state |= {"cs_access": protection.FLAT_CODE | 0x60, "ss_access": protection.FLAT_DATA | 0x60}
    return case("paged", *instructions, memory=memory, **(state | registers))


@functools.lru_cache
def background(mode: Mode) -> NDArray[np.uint8]:
    """Memory before a case's own bytes are stored. Shared: do not write."""
    image = np.full(RAM, HLT[0], np.uint8)
    random = np.random.default_rng(80386)
    values = random.integers(0, 256, DATA_END - DATA, np.uint8)
    image[DATA:DATA_END] = np.where(random.random(values.size) < 1 / 8, HLT[0], values)
    if mode == "real":
        vectors = b"".join(struct.pack("<HH", v, HANDLERS >> 4) for v in range(256))
        image[: len(vectors)] = np.frombuffer(vectors, np.uint8)
    elif mode == "paged":
        protection.store_tables(image)
    else:
        gates = b"".join(
            struct.pack("<HHHH", (HANDLERS + v) & 0xFFFF, CODE32, 0x8E00, HANDLERS >> 16)
            for v in range(256)
        )
        image[IDT : IDT + len(gates)] = np.frombuffer(gates, np.uint8)
        flat_code, flat_data = 0x00CF9B00_0000FFFF, 0x00CF9300_0000FFFF
        table = struct.pack("<3Q", 0, flat_code, flat_data)
        image[GDT : GDT + len(table)] = np.frombuffer(table, np.uint8)
    image.setflags(write=False)
    return image


def table_ranges(mode: Mode) -> tuple[range, ...]:
    """Where the tables stand through which exceptions are delivered, and the handlers."""
    if mode == "paged":
        return (*protection.NEEDED_BY_HANDLERS, range(HANDLERS, HANDLERS + 256))
    tables = (range(0x400),) if mode == "real" else (range(IDT, IDT + 0x800), range(GDT, GDT + 24))
    return (*tables, range(HANDLERS, HANDLERS + 256))


def source(case: Case) -> str:
    """The case as Python, as `case` takes it."""
    lines = ["case(", f'    "{case.mode}",']
    for instruction in case.instructions:
        comment = disassemble(case.mode, instruction)
        lines.append(f'    "{instruction.hex()}",  # {comment}')
    if case.memory:
        lines.append("    memory={")
        for address, data in sorted(case.memory.items()):
            lines.append(f'        {address:#x}: "{data.hex()}",')
        lines.append("    },")
    defaults = default_registers(case.mode)
    for name, value, default in zip(
        register_names(case.mode), case.registers, defaults, strict=True
    ):
        if value != default:
            lines.append(f"    {name}={value:#x},")
    return "\n".join([*lines, ")"])
