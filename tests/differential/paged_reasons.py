"""Why a difference in paged mode says nothing against the core, beside Unicorn's known faults."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tests.differential.disassembly import opcode
from tests.differential.known_faults import Step
from tests.differential.layout import CR0_AT, CS, EFLAGS, EIP, ESP, IDT, RAM, SS, hidden
from tests.differential.outcome import Stop
from tests.differential.paging import ACCESSED, WRITE_PROTECT, translate
from tests.differential.protection import Hidden, holds

_VM, _EM = 1 << 17, 1 << 2
#: The largest frame that is pushed on the stack of the level itself.
_FRAME = 16


def explain(step: Step) -> str | None:
    """The reason, or None."""
    states = step.before, step.core.registers, step.peer.registers
    if any(registers[EFLAGS] & _VM for registers in states):
        return "virtual-8086 mode"
    if not all(registers[CR0_AT] & 1 for registers in states):
        return "protected mode was left"
    if not step.before[CR0_AT] & _EM and opcode(step.code)[0] in range(0xD8, 0xE0):
        return "only Unicorn has a coprocessor"
    if _finds_no_stack(step):
        return "no stack for an exception"
    if _finds_no_tables(step):
        return "no page tables for an exception"
    return None


def _finds_no_stack(step: Step) -> bool:
    """Whether there was an exception whose frame the core could not push."""
    taken = Stop.EXCEPTION in (step.core.stop, step.peer.stop)
    return (taken or step.core.stop in (Stop.SHUTDOWN, Stop.OUTSIDE)) and any(
        registers[CS] & 3 == 0 and not _has_room(step, registers)
        for registers in (step.before, step.peer.registers)
    )


def _finds_no_tables(step: Step) -> bool:
    """Whether the page tables that were loaded lead to no IDT."""
    found = translate(step.ram, step.core.registers, IDT).physical
    return step.core.stop is Stop.SHUTDOWN and found != IDT


def _has_room(step: Step, registers: tuple[int, ...]) -> bool:
    part = Hidden(*registers[hidden(SS) : hidden(SS) + 3])
    mask = 0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF
    write_protect = bool(registers[CR0_AT] & WRITE_PROTECT)
    for distance in range(4, _FRAME + 4, 4):
        offset = registers[ESP] - distance & mask
        if not holds(part, offset, 4, write=True):
            return False
        for byte in (offset, offset + 3):
            found = translate(step.ram, registers, part.base + byte)
            if not found.allows(user=False, write=True, write_protect=write_protect):
                return False
            if found.physical is None or found.physical >= RAM:
                return False
    return True


def code_entries(ram: NDArray[np.uint8], registers: tuple[int, ...]) -> Iterator[int]:
    """Where the page tables tell of the code at CS:EIP, and of the page behind it."""
    linear = registers[hidden(CS)] + registers[EIP]
    for address in (linear - 1, linear, linear + 0x1000):
        yield from translate(ram, registers, address).entries


def forgive_fetches(
    core: NDArray[np.uint8], peer: NDArray[np.uint8], *states: tuple[int, ...]
) -> bool:
    """Let Unicorn have the accessed bits of code pages as the core has them; whether it had not.

    Both fetch ahead, which may set them or not (SDM vol. 3, 4.8), and each its own way.
    """
    forgiven = False
    for registers in states:
        for entry in code_entries(core, registers):
            if entry < RAM and (core[entry] ^ peer[entry]) == ACCESSED:
                peer[entry] = core[entry]
                forgiven = True
    return forgiven
