"""What a step in paged mode did: questions that the lists of Unicorn's faults ask."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from tests.differential.disassembly import PREFIXES, mnemonic
from tests.differential.known_faults import Step
from tests.differential.layout import EIP, ESP, SS, hidden
from tests.differential.outcome import Stop
from tests.differential.paging import ACCESSED, DIRTY, PAGE_TABLES, physical
from tests.differential.protection import Hidden

TS, NP, SS_FAULT, GP, PF = 10, 11, 12, 13, 14
#: In the error code of a page fault.
WRITE: Final = 2


def plain_mnemonic(step: Step) -> str:
    """Without the prefixes that have names."""
    return mnemonic(step.mode, step.code).rpartition(" ")[2]


def part_of(registers: tuple[int, ...], segment: int) -> Hidden:
    """The hidden part of a segment register."""
    at = hidden(segment)
    return Hidden(*registers[at : at + 3])


def without_prefixes(step: Step) -> bytes:
    """From the opcode on; three bytes at least, zeros where the code ends before."""
    return step.code.lstrip(bytes(PREFIXES)).ljust(3, b"\0")


def took(step: Step, *vectors: int) -> bool:
    """Whether the core took one of these exceptions here, and Unicorn not the same."""
    core, peer = step.core, step.peer
    return (
        core.stop is Stop.EXCEPTION
        and core.vector in vectors
        and core.registers[EIP] == step.before[EIP]
        and (core.vector, core.error, core.registers[EIP])
        != (peer.vector, peer.error, peer.registers[EIP])
    )


def took_without_selector(step: Step, *vectors: int) -> bool:
    return step.core.error == 0 and took(step, *vectors)


def same_end(step: Step) -> bool:
    """Whether both took the same exception at the same place."""
    core, peer = step.core, step.peer
    return (
        core.stop is peer.stop is Stop.EXCEPTION
        and core.vector == peer.vector
        and core.registers[EIP] == peer.registers[EIP]
    )


def only_marks_differ(
    step: Step, *, dirty: bool = False, beside: Container[int] = frozenset()
) -> bool:
    """Whether all of memory that differs is accessed and dirty bits of page tables.

    With `dirty` the core may have marked pages as written to that Unicorn has not; what lies
    `beside` may differ, too.
    """
    marks = ACCESSED | DIRTY
    return all(
        place in beside
        or (
            place in PAGE_TABLES
            and place % 4 == 0
            and not change & ~marks
            and (dirty or not change & int(step.ram[place]) & DIRTY)
        )
        for place, change in zip(step.places, step.changes, strict=True)
    )


def below_stack(step: Step, size: int) -> set[int]:
    """The physical addresses of so many bytes below the stack pointer."""
    part, esp = part_of(step.before, SS), step.before[ESP]
    mask = 0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF
    return {
        physical(step.ram, step.before, part.base + (esp - distance & mask))
        for distance in range(1, size + 1)
    }


def only_descriptors_marked(step: Step) -> bool:
    """Whether all of memory that differs is accessed bits of descriptors that the core has set."""
    return all(
        change == 1 and place % 8 == 5 and bool(step.ram[place] & 1)
        for place, change in zip(step.places, step.changes, strict=True)
    )
