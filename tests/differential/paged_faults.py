"""Where Unicorn 2.1.4 is wrong in paged mode: each with the section of the SDM that proves it.

As in known_faults.py. What Unicorn does not look at is looked at here, by the hidden registers.
"""

from __future__ import annotations

from typing import Final

from tests.differential.disassembly import PREFIXES, length, mnemonic, opcode
from tests.differential.known_faults import KnownFault, Step
from tests.differential.layout import (
    CR2_AT,
    CS,
    EBP,
    EDI,
    EDX,
    EFLAGS,
    EIP,
    ESI,
    ESP,
    GDT,
    LDT,
    PAGED_REGISTERS,
    SEGMENTS,
    SS,
    TR,
    hidden,
)
from tests.differential.operands import Access, accesses
from tests.differential.outcome import Stop
from tests.differential.paging import ACCESSED, DIRTY, PAGE_TABLES, USER, physical, read_linear
from tests.differential.protection import Hidden, holds

_TS, _NP, _SS, _GP, _PF = 10, 11, 12, 13, 14
_PORT_OPCODES = {*range(0x6C, 0x70), *range(0xE4, 0xE8), *range(0xEC, 0xF0)}
_WRITE = 2
_RF = 1 << 16
_FAR = ("ljmp", "lcall", "call", "jmp", "retf", "iret")
#: Of CR0, the bits that there are.
_CR0_BITS = 0xE005_003F


def part_of(registers: tuple[int, ...], segment: int) -> Hidden:
    """The hidden part of a segment register."""
    at = hidden(segment)
    return Hidden(*registers[at : at + 3])


def _without_prefixes(step: Step) -> bytes:
    """From the opcode on; three bytes at least, zeros where the code ends before."""
    return step.code.lstrip(bytes(PREFIXES)).ljust(3, b"\0")


def _took(step: Step, *vectors: int) -> bool:
    """Whether the core took one of these exceptions here, and Unicorn not the same."""
    core, peer = step.core, step.peer
    return (
        core.stop is Stop.EXCEPTION
        and core.vector in vectors
        and core.registers[EIP] == step.before[EIP]
        and (core.vector, core.error, core.registers[EIP])
        != (peer.vector, peer.error, peer.registers[EIP])
    )


def _took_without_selector(step: Step, *vectors: int) -> bool:
    return step.core.error == 0 and _took(step, *vectors)


def _same_end(step: Step) -> bool:
    """Whether both took the same exception at the same place."""
    core, peer = step.core, step.peer
    return (
        core.stop is peer.stop is Stop.EXCEPTION
        and core.vector == peer.vector
        and core.registers[EIP] == peer.registers[EIP]
    )


def only_marks_differ(step: Step, *, dirty: bool = False) -> bool:
    """Whether all of memory that differs is accessed and dirty bits of page tables.

    With `dirty` the core may have marked pages as written to that Unicorn has not.
    """
    marks = ACCESSED | DIRTY
    return all(
        place in PAGE_TABLES
        and place % 4 == 0
        and not change & ~marks
        and (dirty or not change & int(step.ram[place]) & DIRTY)
        for place, change in zip(step.places, step.changes, strict=True)
    )


def _breaks(step: Step, access: Access) -> bool:
    part = part_of(step.before, access.segment)
    same = (access.segment == SS) == (step.core.vector == _SS)
    return same and not holds(part, access.offset, access.size, write=access.written)


def _segment_unchecked(step: Step) -> bool:
    """Of a repeated instruction any iteration: the registers are as the one before left them."""
    if not _took_without_selector(step, _GP, _SS):
        return False
    states = [step.before, step.core.registers]
    for distance in (1, 2, 4, -1, -2, -4):
        moved = list(step.core.registers)
        for number in (ESI, EDI):
            moved[number] = moved[number] + distance & 0xFFFF_FFFF
        states.append(tuple(moved))
    return any(
        _breaks(step, access)
        for registers in states
        for access in accesses(step.mode, step.code, registers)
    )


def _stack_unchecked(step: Step) -> bool:
    """ENTER pushes EBP, up to 30 frame pointers that it reads below EBP, and its own."""
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    if not _took_without_selector(step, _SS) or not name.startswith(
        ("push", "pop", "call", "lcall", "ret", "iret", "enter", "leave")
    ):
        return False
    part = part_of(step.before, SS)
    mask = 0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF
    released = int.from_bytes(_without_prefixes(step)[1:3], "little")
    return any(
        not holds(part, step.before[pointer] + distance & mask, size, write=True)
        for pointer in (ESP, EBP)
        for distance in (*range(-132, 132), released, released + 4, released + 8, released + 12)
        for size in (1, 4)
    )


def _fetch_unchecked(step: Step) -> bool:
    """The part of the instruction that is there may not be enough to tell its length."""
    if step.core.error or step.core.vector != _GP or step.core.stop is not Stop.EXCEPTION:
        return False
    here = step.core.registers[EIP] == step.before[EIP]
    last = step.before[EIP] + length(step.mode, step.code) - 1
    return here and last > part_of(step.before, CS).limit


def _target_unchecked(step: Step) -> bool:
    target = step.peer.registers
    return _took_without_selector(step, _GP) and target[EIP] > part_of(target, CS).limit


def _port_unchecked(step: Step) -> bool:
    first, second = opcode(step.code)
    level, allowed = step.before[CS] & 3, step.before[EFLAGS] >> 12 & 3
    if first is None or first not in _PORT_OPCODES or level <= allowed:
        return False
    if not _took_without_selector(step, _GP):
        return False
    port = second if first in range(0xE4, 0xE8) else step.before[EDX] & 0xFFFF
    assert port is not None
    base, limit, _ = step.before[TR_PART : TR_PART + 3]
    start = read_linear(step.ram, step.before, base + 0x66, 2)
    at = int.from_bytes(start, "little") + (port >> 3)
    if at + 1 > limit:
        return True
    bits = int.from_bytes(read_linear(step.ram, step.before, base + at, 2), "little")
    size = 1 if not first & 1 else 2 if b"\x66" in step.code[: step.code.index(first)] else 4
    return bool(bits >> (port & 7) & (1 << size) - 1)


def _signed_release(step: Step) -> bool:
    plain = _without_prefixes(step)
    return plain[0] in (0xC2, 0xCA) and plain[2] >= 0x80


def _reserved_control_bits(step: Step) -> bool:
    plain = _without_prefixes(step)
    at = PAGED_REGISTERS.index("cr0")
    changed = step.core.registers[at] ^ step.peer.registers[at]
    return plain[:2] == b"\x0f\x22" and step.differing == ("cr0",) and not changed & _CR0_BITS


def _fetched_ahead(step: Step) -> bool:
    """A page fault for the page behind, which the instruction does not reach."""
    start = part_of(step.before, CS).base + step.before[EIP]
    last = start + length(step.mode, step.code) - 1
    return (
        step.peer.vector == _PF
        and step.peer.registers[EIP] == step.before[EIP]
        and step.peer.registers[CR2_AT] == (start | 0xFFF) + 1 & 0xFFFF_FFFF
        and last >> 12 == start >> 12
    )


def _read_before_write(step: Step) -> bool:
    return (
        _same_end(step)
        and step.core.vector == _PF
        and {"error", "memory"}.issuperset(step.differing)
        and step.core.error | _WRITE == step.peer.error | _WRITE
        and only_marks_differ(step)
        and any(access.written for access in accesses(step.mode, step.code, step.before))
    )


def _marked_before_fault(step: Step) -> bool:
    return _same_end(step) and step.differing == ("memory",) and only_marks_differ(step)


def _flags_before_fault(step: Step) -> bool:
    return (
        _same_end(step)
        and step.core.vector == _PF
        and "eflags" in step.differing
        and {"eflags", "error", "memory"}.issuperset(step.differing)
        and only_marks_differ(step)
        and step.core.registers[EFLAGS] | _RF == step.before[EFLAGS] | _RF
    )


def _two_strings(step: Step) -> bool:
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    return (
        name.startswith("cmps")
        and _same_end(step)
        and {"cr2", "error", "memory"}.issuperset(step.differing)
        and only_marks_differ(step)
    )


def _enter_looks_ahead(step: Step) -> bool:
    """Beside which it may write too much of EBP, as known_faults.py has it."""
    if mnemonic(step.mode, step.code).rpartition(" ")[2] != "enter":
        return False
    half = (step.core.registers[EBP] ^ step.peer.registers[EBP]) & 0xFFFF == 0
    marks = {"memory", "cr2", "error", *(("ebp",) if half else ())}.issuperset(step.differing)
    return (marks and only_marks_differ(step, dirty=True)) or _took(step, _PF)


def _supervisor_stack(step: Step) -> bool:
    """Of far calls and returns at level 3."""
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    return (
        name.startswith(("call", "lcall", "ret", "iret"))
        and step.before[CS] & 3 == 3
        and _took(step, _PF)
        and bool(step.core.error & USER)
    )


def _invalid_cr0(step: Step) -> bool:
    plain = _without_prefixes(step)
    to_cr0 = plain[:2] == b"\x0f\x22" and not plain[2] >> 3 & 7
    return to_cr0 and _took_without_selector(step, _GP)


def _unmarked(step: Step) -> bool:
    """Of far transfers and task switches: the accessed bit is bit 0 of the sixth byte."""
    names = {f"{segment}_access" for segment in SEGMENTS}
    far = mnemonic(step.mode, step.code).rpartition(" ")[2].startswith(_FAR)
    if not far or not {"memory", *names}.issuperset(step.differing):
        return False
    core, peer = step.core.registers, step.peer.registers
    parts = (PAGED_REGISTERS.index(name) for name in step.differing if name in names)
    return all(core[part] == peer[part] | 1 for part in parts) and all(
        change == 1 and place % 8 == 5 and bool(step.ram[place] & 1)
        for place, change in zip(step.places, step.changes, strict=True)
    )


def _fault_in_task(step: Step) -> bool:
    return (
        step.core.registers[TR] != step.before[TR]
        and step.core.stop is step.peer.stop is Stop.EXCEPTION
        and step.core.vector == step.peer.vector
        and step.differing == ("eip",)
        and step.peer.registers[EIP] == step.before[EIP]
    )


def _conforming_in_task(step: Step) -> bool:
    """The new CS is loaded by the core, and refused by Unicorn with its selector."""
    core, peer = step.core, step.peer
    selector, access = core.registers[CS], core.registers[hidden(CS) + 2]
    refused = peer.vector == _TS and peer.error == selector & 0xFFFC
    entry = (LDT if selector & 4 else GDT) + (selector & 0xFFF8)
    if access < 0:
        access = int(step.ram[entry + 5])
    return core.registers[TR] != step.before[TR] and refused and access & 0x1C == 0x1C


def _absent_behind_gate(step: Step) -> bool:
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    same = step.core.error == step.peer.error and step.peer.vector == _GP
    return name.startswith(("jmp", "ljmp")) and same and step.core_took(_NP)


def _wide_gate(step: Step) -> bool:
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    core, peer = step.core.registers[EIP], step.peer.registers[EIP]
    return name.startswith(_FAR) and core == peer & 0xFFFF and "eip" in step.differing


def _pushed_upwards(step: Step) -> bool:
    """What was pushed before the fault lies below the stack pointer."""
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    if not name.startswith("pusha") or not _same_end(step):
        return False
    part, esp = part_of(step.before, SS), step.before[ESP]
    mask = 0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF
    below = {
        physical(step.ram, step.before, part.base + (esp - distance & mask))
        for distance in range(1, 33)
    }
    return {"cr2", "error", "memory"}.issuperset(step.differing) and all(
        place in below or place in PAGE_TABLES for place in step.places
    )


def _null_task(step: Step) -> bool:
    plain = _without_prefixes(step)
    loads_task = plain[:2] == b"\x0f\x00" and plain[2] >> 3 & 7 == 3
    return loads_task and _took_without_selector(step, _GP) and step.peer.registers[TR] & ~3 == 0


def _reserved_cr4(step: Step) -> bool:
    plain = _without_prefixes(step)
    to_cr4 = plain[:2] == b"\x0f\x22" and plain[2] >> 3 & 7 == 4
    return to_cr4 and _took_without_selector(step, _GP)


def _adjusted_in_vain(step: Step) -> bool:
    """It stores the destination again: that marks the page, or faults."""
    plain = _without_prefixes(step)
    if plain[:1] != b"\x63":
        return False
    faulted = step.peer.vector in (_PF,) and step.peer.registers[EIP] == step.before[EIP]
    return (step.differing == ("memory",) and only_marks_differ(step)) or (
        faulted and step.core.stop is Stop.LIMIT and bool(step.peer.error & _WRITE)
    )


TR_PART: Final = PAGED_REGISTERS.index("tr_base")

PAGED_FAULTS: Final = (
    KnownFault(
        "no segment limits, types or null selectors",
        "SDM vol. 3, 5.3, 5.4 and 5.4.1: #GP(0), or #SS(0) in the stack segment",
        _segment_unchecked,
    ),
    KnownFault(
        "no limit of the stack segment",
        "SDM vol. 3, 5.3 and 6.15 (#SS): an operation that refers to SS beyond its limit",
        _stack_unchecked,
    ),
    KnownFault(
        "code is fetched from beyond its segment",
        "SDM vol. 3, 5.3: the limit check includes instruction fetches",
        _fetch_unchecked,
    ),
    KnownFault(
        "a jump may lead beyond its segment",
        "SDM vol. 2, CALL, JMP, RET, IRET, Protected Mode Exceptions: #GP(0) beyond the CS limit",
        _target_unchecked,
    ),
    KnownFault(
        "no I/O permission",
        "SDM vol. 1, 19.5.1 and 19.5.2: #GP(0) unless IOPL or the map in the TSS allows the port",
        _port_unchecked,
    ),
    KnownFault(
        "bytes to release are signed",
        "SDM vol. 2, RET: the operand is a count of bytes and is added to ESP",
        _signed_release,
    ),
    KnownFault(
        "CR0 keeps reserved bits",
        "SDM vol. 2, MOV to and from control registers: reserved bits of CR0 remain clear",
        _reserved_control_bits,
    ),
    KnownFault(
        "the page behind the code is fetched before it is reached",
        "SDM vol. 3, 6.5 and 6.15 (#PF): a fault is that of the instruction which EIP names",
        _fetched_ahead,
    ),
    KnownFault(
        "far calls and returns use the stack with a supervisor's rights",
        "SDM vol. 3, 4.6: what an instruction accesses at level 3 is accessed as a user",
        _supervisor_stack,
    ),
    KnownFault(
        "LTR takes a null selector",
        "SDM vol. 2, LTR: #GP(0) if the source is a null selector",
        _null_task,
    ),
    KnownFault(
        "CR4 takes reserved bits",
        "SDM vol. 2, MOV to and from control registers: #GP(0) for a reserved bit of CR4",
        _reserved_cr4,
    ),
    KnownFault(
        "CR0 takes what does not go together",
        "SDM vol. 2, MOV to and from control registers: #GP(0) for PG without PE, NW without CD",
        _invalid_cr0,
    ),
    KnownFault(
        "segments are not marked as accessed by far transfers and task switches",
        "SDM vol. 3, 3.4.5.1: the bit is set whenever the selector is loaded",
        _unmarked,
    ),
    KnownFault(
        "a fault in the new task returns to the old one's address",
        "SDM vol. 3, 7.3: the switch is completed before the exception is generated",
        _fault_in_task,
    ),
    KnownFault(
        "a task may not begin in conforming code of an inner level",
        "SDM vol. 3, 7.3, table 7-1: only of nonconforming code must DPL and RPL be equal",
        _conforming_in_task,
    ),
    KnownFault(
        "a jump through a gate to code that is not present is a protection fault",
        "SDM vol. 2, JMP, Operation: #NP of the code segment's selector",
        _absent_behind_gate,
    ),
    KnownFault(
        "16-bit call gates have offsets of 32 bits",
        "SDM vol. 2, CALL, Operation: of a 16-bit gate the instruction pointer is IP",
        _wide_gate,
    ),
    KnownFault(
        "flags change though the store faults",
        "SDM vol. 3, 6.5: a fault leaves the state as it was before the instruction",
        _flags_before_fault,
    ),
    KnownFault(
        "PUSHA begins with EDI",
        "SDM vol. 2, PUSHA, Operation: EAX is pushed first",
        _pushed_upwards,
    ),
    KnownFault(
        "ARPL stores what it leaves as it is",
        "SDM vol. 2, ARPL, Operation: the destination is written when its RPL is raised",
        _adjusted_in_vain,
    ),
    KnownFault(
        "ENTER does not look at the final stack pointer",
        "SDM vol. 2, ENTER: #PF if a write by the final stack pointer would cause one",
        _enter_looks_ahead,
    ),
)

#: Where the manual leaves a result open: each with the section that says so.
PAGED_RESULTS: Final = (
    KnownFault(
        "a read and write faults as either",
        "SDM vol. 3, 4.7: W/R tells the access that faulted, and either may come first",
        _read_before_write,
    ),
    KnownFault(
        "the strings that CMPS compares are read in either order",
        "SDM vol. 2, CMPS, Operation: a difference, of whose operands neither is the first",
        _two_strings,
    ),
    KnownFault(
        "an instruction that faults has marked other pages before, or not",
        "SDM vol. 3, 4.8: entries are marked as they are used, in whatever order",
        _marked_before_fault,
    ),
)


def explain_paged(step: Step) -> KnownFault | None:
    """The fault of paged mode that accounts for a step's difference, if it is known."""
    candidates = (*PAGED_FAULTS, *PAGED_RESULTS)
    return next((fault for fault in candidates if fault.explains(step)), None)
