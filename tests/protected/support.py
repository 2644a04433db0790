"""Guests of tests/support.py with more descriptors, an outer privilege level, or page tables.

0x02C00  TSS of the present task      0x60000  page directory
0x30000  TSS of another task          0x61000  page table of linear 0, the first MiB as it is
0x31000  LDT                          0x62000  page table of linear 0x400000, empty
"""

from __future__ import annotations

import struct

import x86core as x86
from tests.support import (
    GDT,
    SPARE,
    STACKS,
    TSS,
    Event,
    delivered,
    descriptor,
    flat32,
    run,
)

#: The present task; another one, of 32 or 16 bits; gates to it and to code.
OWN_TASK, TASK, TASK_GATE, CALL_GATE = SPARE + 8, 0x38, 0x40, 0x48
LDT, CONFORMING, CODE16, DATA16 = 0x50, 0x58, 0x60, 0x68
CODE1, DATA1, CODE3, DATA3 = 0x70 | 1, 0x78 | 1, 0x80 | 3, 0x88 | 3
LAST = DATA3 | 7

OTHER_TSS, LDT_AT = 0x30000, 0x31000
DIRECTORY, TABLE, UPPER_TABLE = 0x60000, 0x61000, 0x62000
UPPER = 0x400000
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
ALL = PRESENT | WRITABLE | USER
CR0_TS, CR0_WP, CR0_PG = 0x8, 0x10000, 0x80000000
CR4_TSD, CR4_PSE, CR4_PGE = 4, 0x10, 0x80

TS, PF = 10, 14
FLAG_IOPL, FLAG_NT, FLAG_VM = 0x3000, 0x4000, 0x20000
#: The stack pointer that the TSS has for privilege level 0.
INNER_STACK = STACKS + 0x400


def call_gate(selector: int, offset: int, count: int = 0, kind: int = 0xEC) -> bytes:
    """`kind` is the access byte: present, DPL 3, a 32-bit call gate."""
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, count, kind, offset >> 16)


def set_descriptor(vcpu: x86.VCPU, selector: int, entry: bytes) -> None:
    """Into the GDT."""
    vcpu.memory.write(GDT + (selector & 0xFFF8), entry)


def access(vcpu: x86.VCPU, selector: int) -> int:
    """The access byte of a descriptor of the GDT as it lies in memory."""
    return vcpu.memory.read(GDT + (selector & 0xFFF8) + 5, 1)[0]


def protected(source: str, *, cpl: int = 0, index: int = 0, **registers: int) -> x86.VCPU:
    """As flat32, with these descriptors, at a privilege level (0, 1 or 3)."""
    vcpu = flat32(source, index=index)
    entries = {
        OWN_TASK: descriptor(TSS, 103, 0x8B),
        TASK: descriptor(OTHER_TSS, 103, 0xE9),
        TASK_GATE: call_gate(TASK, 0, kind=0xE5),
        CALL_GATE: bytes(8),
        LDT: descriptor(LDT_AT, 0xF, 0x82),
        CONFORMING: descriptor(0, 0xFFFFF, 0xC09E),
        CODE16: descriptor(0, 0xFFFF, 0x9B),
        DATA16: descriptor(0, 0xFFFF, 0x93),
        CODE1: descriptor(0, 0xFFFFF, 0xC0BB),
        DATA1: descriptor(0, 0xFFFFF, 0xC0B3),
        CODE3: descriptor(0, 0xFFFFF, 0xC0FB),
        DATA3: descriptor(0, 0xFFFFF, 0xC0F3),
    }
    for selector, entry in entries.items():
        set_descriptor(vcpu, selector, entry)
    vcpu.gdt_limit = LAST
    enter(vcpu, cpl)
    for name, value in registers.items():
        setattr(vcpu, name, value)
    return vcpu


def enter(vcpu: x86.VCPU, cpl: int) -> None:
    """Put a vCPU at a privilege level, with flat segments of it."""
    if cpl == 0:
        return
    code, data = {1: (CODE1, DATA1), 3: (CODE3, DATA3)}[cpl]
    vcpu.cs.selector, vcpu.cs.access = code, 0xC09B | cpl << 5
    for segment in (vcpu.ss, vcpu.ds, vcpu.es, vcpu.fs, vcpu.gs):
        segment.selector, segment.access = data, 0xC093 | cpl << 5
    assert vcpu.cpl == cpl


def paged(source: str, *, cpl: int = 0, index: int = 0, **registers: int) -> x86.VCPU:
    """As protected, with paging on; all of the first MiB is there for everybody."""
    vcpu = protected(source, cpl=cpl, index=index, **registers)
    vcpu.memory.write(DIRECTORY, struct.pack("<II", TABLE | ALL, UPPER_TABLE | ALL))
    vcpu.memory.write(TABLE, b"".join(struct.pack("<I", n << 12 | ALL) for n in range(256)))
    vcpu.cr3 = DIRECTORY
    vcpu.cr0 |= CR0_PG
    return vcpu


def entry_at(linear: int) -> int:
    """Where the page-table entry of a linear address below 8 MiB lies."""
    return TABLE + (linear >> 12) * 4


def map_page(vcpu: x86.VCPU, linear: int, entry: int) -> None:
    """Set a page-table entry. The TLB is not told."""
    vcpu.memory.write(entry_at(linear), struct.pack("<I", entry))


def event(vcpu: x86.VCPU) -> Event:
    """Run to the handler of an event."""
    assert run(vcpu) == "EXIT_HLT"
    return delivered(vcpu)


def frame(vcpu: x86.VCPU, words: int, size: int = 4) -> list[int]:
    """So many values from the top of the stack."""
    data = vcpu.memory.read(vcpu.ss.base + vcpu.esp, words * size)
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
