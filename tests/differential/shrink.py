"""Makes a case as small as it can be while it still shows a difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from tests.differential.agreement import Comparison, Difference
from tests.differential.case import Case, background, default_registers
from tests.differential.disassembly import PREFIXES, Mode, length
from tests.differential.layout import (
    CR0_AT,
    CS,
    EFLAGS,
    EIP,
    GENERAL,
    PAGED_REGISTERS,
    RAM,
    REGISTERS,
    SS,
    hidden,
)


def shrink(case: Case, still_fails: Callable[[Case], bool]) -> Case:
    """The smallest case reached by dropping instructions, bytes of memory and register values.

    Each step of the way `still_fails`; so must `case` itself.
    """
    steps = (_fewer_instructions, _less_memory, _fewer_prefixes, _simpler_registers)
    while True:
        candidates = (candidate for step in steps for candidate in step(case))
        smaller = next(filter(still_fails, candidates), None)
        if smaller is None:
            return case
        case = smaller


def _fewer_instructions(case: Case) -> Iterator[Case]:
    """Without one half, then without a quarter, ... then without one."""
    count = len(case.instructions)
    size = count // 2
    while size:
        for first in range(0, count, size):
            rest = case.instructions[:first] + case.instructions[first + size :]
            if rest:
                yield replace(case, instructions=rest)
        size //= 2


def _less_memory(case: Case) -> Iterator[Case]:
    for address in case.memory:
        yield replace(case, memory={a: d for a, d in case.memory.items() if a != address})


def _fewer_prefixes(case: Case) -> Iterator[Case]:
    for number, instruction in enumerate(case.instructions):
        if len(instruction) > 1 and instruction[0] in PREFIXES:
            shorter = (
                *case.instructions[:number],
                instruction[1:],
                *case.instructions[number + 1 :],
            )
            yield replace(case, instructions=shorter)


def _simpler_registers(case: Case) -> Iterator[Case]:
    """With registers at their defaults, or with fewer bits."""
    defaults = default_registers(case.mode)
    for numbers in _units(case.mode):
        simpler = {number: defaults[number] for number in numbers}
        if all(case.registers[number] == value for number, value in simpler.items()):
            continue
        yield _changed(case, simpler)
        if len(numbers) == 1:
            value = case.registers[numbers[0]]
            for mask in (0xFFFF, 0xFF):
                if value & mask < value:
                    yield _changed(case, {numbers[0]: value & mask})


def _units(mode: Mode) -> Iterator[tuple[int, ...]]:
    """Registers that make no sense apart: a segment's parts, and CS and SS for their level."""
    if mode != "paged":
        yield from ((number,) for number in range(len(REGISTERS)))
        return
    parts = {at: (at, *range(hidden(at), hidden(at) + 3)) for at in range(len(GENERAL), EIP)}
    yield from ((number,) for number in range(len(GENERAL)))
    yield (*parts.pop(CS), *parts.pop(SS))
    yield from parts.values()
    yield from ((number,) for number in (EIP, EFLAGS, *range(CR0_AT, len(PAGED_REGISTERS))))


def _changed(case: Case, values: dict[int, int]) -> Case:
    registers = list(case.registers)
    for number, value in values.items():
        registers[number] = value
    return replace(case, registers=tuple(registers))


def minimal(comparison: Comparison, difference: Difference) -> Difference:
    """The smallest difference with the same cause that can be found from this one."""
    cause = difference.cause
    best = difference

    def still_fails(case: Case) -> bool:
        nonlocal best
        found = comparison.compare(case).difference
        if found is None or found.cause != cause:
            return False
        best = found
        return True

    for start in (_alone(comparison, difference), difference.case):
        if start is not None and still_fails(start):
            shrink(start, still_fails)
            break
    return best


def _alone(comparison: Comparison, difference: Difference) -> Case | None:
    """Just the instruction that differs, begun in the state that it met."""
    if difference.code is None:
        return None
    case, core = difference.case, comparison.core
    core.load(case)
    for _ in range(difference.step):
        core.step()
    instruction = difference.code[: length(case.mode, difference.code)]
    alone = Case(case.mode, (instruction,), core.registers())
    beyond = case.mode == "real" and alone.registers[EIP] > 0xFFFF
    if beyond or alone.code_address + len(alone.code) > RAM:
        comparison.restore()
        return None
    own = range(alone.code_address, alone.code_address + len(alone.code))
    changed = np.flatnonzero(core.ram != background(case.mode)).tolist()
    memory = {a: core.ram[a : a + 1].tobytes() for a in changed if a not in own}
    comparison.restore()
    return replace(alone, memory=_joined(memory))


def _joined(memory: dict[int, bytes]) -> dict[int, bytes]:
    """Contiguous bytes as one entry."""
    joined: dict[int, bytes] = {}
    first = -1
    for address in sorted(memory):
        if first >= 0 and address == first + len(joined[first]):
            joined[first] += memory[address]
        else:
            first = address
            joined[first] = memory[address]
    return joined
