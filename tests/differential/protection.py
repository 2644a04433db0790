"""Descriptor tables of paged mode, and what the processor makes of an entry (SDM vol. 3, 3.4.5)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.differential import paging
from tests.differential.layout import (
    CODE32,
    CR0,
    DATA,
    DIRECTORY,
    GATE_TARGETS,
    GDT,
    HANDLER_STACK,
    HANDLERS,
    IDT,
    LDT,
    PAGED_REGISTERS,
    SEGMENTS,
    TSS,
)
from tests.support import descriptor, gate

#: Entries of the GDT and of the LDT.
GDT_ENTRIES, LDT_ENTRIES = 32, 16
#: Those of the GDT from here on, and all of the LDT, are a case's own to change.
FIRST_FREE: Final = 11
#: One to load into TR.
OTHER_TSS: Final = TSS + 0x800
TSS_SELECTOR, LDT_SELECTOR = 0x48, 0x50
GDT_LIMIT: Final = 8 * GDT_ENTRIES - 1
TSS_LIMIT: Final = 0x68 + 0x80
FLAT_CODE, FLAT_DATA, CODE16, DATA16 = 0xC09B, 0xC093, 0x009B, 0x0093
#: Where the entries of the gates lead: to these instructions, 16 bytes apart.
_TARGETS: Final = ("f4", "cb", "ca0c00", "66cb", "66ca0400", "1e0fa1cb", "8cd0cb", "cf")
#: What exceptions are delivered through, beside the handlers.
NEEDED_BY_HANDLERS: Final = (
    range(DIRECTORY, DIRECTORY + 4),
    range(paging.IDENTITY_TABLE + 0x340, paging.IDENTITY_TABLE + 0x400),
    range(IDT, IDT + 0x800),
    range(GDT, GDT + 24),
    range(TSS + 4, TSS + 12),
)


def code_selector(level: int) -> int:
    """Of the flat code segment of a privilege level."""
    return 0x08 + 0x11 * level


def data_selector(level: int) -> int:
    """Of the flat data segment of a privilege level."""
    return 0x10 + 0x11 * level


def gate_target(number: int) -> int:
    """The offset that a gate leads to."""
    return GATE_TARGETS + 16 * (number % len(_TARGETS))


def _call_gate(number: int, level: int, access: int, count: int) -> bytes:
    target = gate_target(number) if access & 8 else gate_target(number) & 0xFFFF
    return gate(target, code_selector(level), access << 8 | count)


def _free_entries() -> list[bytes]:
    """The usual kinds of descriptor, and some that may not be used."""
    absent, user = 0x80, 3 << 5
    return [
        descriptor(0, 0xFFFFF, FLAT_CODE | 4),
        descriptor(0, 0xFFFFF, FLAT_CODE | 4 | 2 << 5),
        descriptor(0, 0xFFFFF, FLAT_CODE & ~2 | user),
        descriptor(0, 0xFFFFF, FLAT_DATA & ~2 | user),
        descriptor(0, 0x2F, FLAT_DATA | 4 | user),
        descriptor(DATA, 0x7FFF, DATA16 | 4 | user),
        descriptor(0, 0xFFFFF, FLAT_DATA & ~absent | user),
        descriptor(0, 0xFFFFF, FLAT_CODE & ~absent | user),
        descriptor(DATA, 0xFFF, 0x4093 | user),
        descriptor(DATA, 0xFFFF, DATA16),
        descriptor(DATA + 0x1_0000, 0xFFFF, DATA16 | user),
        _call_gate(1, 0, 0xEC, 0),
        _call_gate(2, 1, 0xEC, 3),
        _call_gate(4, 0, 0xE4, 2),
        _call_gate(0, 2, 0xEC, 5),
        _call_gate(1, 0, 0x6C, 0),
        _call_gate(5, 3, 0xEC, 0),
        _call_gate(6, 0, 0x8C, 0),
        descriptor(LDT + 0x800, 0x7F, 0x82),
        descriptor(OTHER_TSS, 0x67, 0xE9),
        descriptor(DATA + 0x8, 0xFFFFF, FLAT_DATA & ~1 | user),
    ]


def _tables() -> tuple[bytes, bytes]:
    """The GDT and the LDT."""
    gdt = [bytes(8)]
    for level in range(4):
        gdt.append(descriptor(0, 0xFFFFF, FLAT_CODE | level << 5))
        gdt.append(descriptor(0, 0xFFFFF, FLAT_DATA | level << 5))
    gdt.append(descriptor(TSS, TSS_LIMIT, 0x8B))
    gdt.append(descriptor(LDT, 8 * LDT_ENTRIES - 1, 0x82))
    gdt += _free_entries()
    ldt = [gdt[1 + number % 8] for number in range(8)] + _free_entries()[: LDT_ENTRIES - 8]
    return b"".join(gdt), b"".join(ldt)


def _tss() -> bytes:
    """Stacks of the inner levels, and an I/O permission map that allows every other group of 8."""
    stacks = (HANDLER_STACK, 0x10, DATA + 0x2000, data_selector(1), DATA + 0x4000, data_selector(2))
    # What a task switch loads and does not save is there, too.
    head = struct.pack("<I6II", 0, *stacks, DIRECTORY).ljust(0x60, b"\0")
    head += struct.pack("<I2H", LDT_SELECTOR, 0, 0x68)
    return (head + b"\x00\xff" * 64 + b"\xff")[: TSS_LIMIT + 1]


def store_tables(image: NDArray[np.uint8]) -> None:
    """Put descriptor tables, TSS and page tables into an image of RAM."""
    paging.store_tables(image)
    gdt, ldt = _tables()
    # Every gate may be used from level 3, since Unicorn does not look at them.
    idt = b"".join(gate(HANDLERS + vector, CODE32, 0xEE00) for vector in range(256))
    places = {GDT: gdt, LDT: ldt, TSS: _tss(), OTHER_TSS: _tss(), IDT: idt}
    for number, target in enumerate(_TARGETS):
        # Gates of 16 bits lead to the same instructions.
        for at in (gate_target(number), gate_target(number) & 0xFFFF):
            places[at] = bytes.fromhex(target)
    for at, data in places.items():
        image[at : at + len(data)] = np.frombuffer(data, np.uint8)


class Hidden(NamedTuple):
    """The hidden part of a segment register, as the core has it."""

    base: int
    limit: int
    access: int


def loaded(entry: bytes) -> Hidden:
    """What loading an 8-byte descriptor puts into the hidden part, its accessed bit included."""
    low, high = struct.unpack("<II", entry)
    limit = low & 0xFFFF | high & 0xF_0000
    if high & 1 << 23:
        limit = limit << 12 | 0xFFF
    marked = 1 if high & 1 << 12 else 0
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF00_0000
    return Hidden(base, limit, high >> 8 & 0xF0FF | marked)


def holds(part: Hidden, offset: int, size: int, *, write: bool) -> bool:
    """Whether an access may be made by limit, type and presence (SDM vol. 3, 5.3 and 5.4)."""
    code, second = part.access & 8, part.access & 2
    if not part.access & 0x80 or (write and (code or not second)) or (code and not second):
        return False
    last = offset + size - 1
    if not code and part.access & 4:
        return offset > part.limit and last <= (0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF)
    return last <= part.limit


def _system_state() -> dict[str, int]:
    """What a case has that does not say: level 0, flat segments, paging with every extension."""
    state = dict.fromkeys(PAGED_REGISTERS, 0)
    for name in SEGMENTS:
        state[f"{name}_limit"] = 0xFFFF_FFFF
        state[f"{name}_access"] = FLAT_CODE if name == "cs" else FLAT_DATA
    state |= {"ldtr": LDT_SELECTOR, "ldtr_base": LDT, "ldtr_access": 0x82}
    state |= {"ldtr_limit": 8 * LDT_ENTRIES - 1, "tr": TSS_SELECTOR, "tr_base": TSS}
    state |= {"tr_limit": TSS_LIMIT, "tr_access": 0x8B, "cr3": DIRECTORY}
    state["cr0"] = CR0 | 1 | paging.PAGING | paging.WRITE_PROTECT
    state["cr4"] = paging.PAGE_SIZE_EXTENSIONS | paging.PAGE_GLOBAL
    return {name: state[name] for name in PAGED_REGISTERS if "_" in name} | {
        name: state[name] for name in ("ldtr", "tr", "cr0", "cr2", "cr3", "cr4")
    }


#: Of PAGED_REGISTERS, what the other modes do not have.
SYSTEM_STATE: Final = _system_state()
