"""Where Unicorn 2.1.4 is wrong in paged mode: each with the section of the SDM that proves it.

As in known_faults.py. What Unicorn does not look at is looked at here, by the hidden registers.
Calls, returns and task switches have a list of their own, in paged_transfer_faults.py.
"""

from __future__ import annotations

from typing import Final

from tests.differential.disassembly import length, opcode
from tests.differential.known_faults import KnownFault, Step
from tests.differential.layout import (
    CR2_AT,
    CR4_AT,
    CS,
    EBP,
    EDI,
    EDX,
    EFLAGS,
    EIP,
    ESI,
    ESP,
    PAGED_REGISTERS,
    SS,
)
from tests.differential.operands import Access, accesses
from tests.differential.outcome import Stop
from tests.differential.paged_step import (
    GP,
    PF,
    SS_FAULT,
    WRITE,
    below_stack,
    only_marks_differ,
    part_of,
    plain_mnemonic,
    same_end,
    took,
    took_without_selector,
    without_prefixes,
)
from tests.differential.paged_transfer_faults import TRANSFER_FAULTS, TRANSFER_RESULTS
from tests.differential.paging import GLOBAL, PAGE_GLOBAL, physical, read_linear
from tests.differential.protection import holds

_PORT_OPCODES = {*range(0x6C, 0x70), *range(0xE4, 0xE8), *range(0xEC, 0xF0)}
_RF = 1 << 16
#: In the error code of a page fault.
_RESERVED = 8
#: The most that ENTER pushes.
_ENTER_FRAME = 4 * 32
#: Of CR0, the bits that there are.
_CR0_BITS = 0xE005_003F


def _breaks(step: Step, access: Access) -> bool:
    part = part_of(step.before, access.segment)
    same = (access.segment == SS) == (step.core.vector == SS_FAULT)
    return same and not holds(part, access.offset, access.size, write=access.written)


def _segment_unchecked(step: Step) -> bool:
    """Of a repeated instruction any iteration: the registers are as the one before left them."""
    if not took_without_selector(step, GP, SS_FAULT):
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
    name = plain_mnemonic(step)
    if not took_without_selector(step, SS_FAULT) or not name.startswith(
        ("push", "pop", "call", "lcall", "ret", "iret", "enter", "leave")
    ):
        return False
    part = part_of(step.before, SS)
    mask = 0xFFFF_FFFF if part.access & 0x4000 else 0xFFFF
    released = int.from_bytes(without_prefixes(step)[1:3], "little")
    return any(
        not holds(part, step.before[pointer] + distance & mask, size, write=True)
        for pointer in (ESP, EBP)
        for distance in (*range(-132, 132), released, released + 4, released + 8, released + 12)
        for size in (1, 4)
    )


def _fetch_unchecked(step: Step) -> bool:
    """The part of the instruction that is there may not be enough to tell its length."""
    if step.core.error or step.core.vector != GP or step.core.stop is not Stop.EXCEPTION:
        return False
    here = step.core.registers[EIP] == step.before[EIP]
    last = step.before[EIP] + length(step.mode, step.code) - 1
    return here and last > part_of(step.before, CS).limit


def _target_unchecked(step: Step) -> bool:
    target = step.peer.registers
    return took_without_selector(step, GP) and target[EIP] > part_of(target, CS).limit


def _port_unchecked(step: Step) -> bool:
    first, second = opcode(step.code)
    level, allowed = step.before[CS] & 3, step.before[EFLAGS] >> 12 & 3
    if first is None or first not in _PORT_OPCODES or level <= allowed:
        return False
    if not took_without_selector(step, GP):
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
    plain = without_prefixes(step)
    return plain[0] in (0xC2, 0xCA) and plain[2] >= 0x80


def _reserved_control_bits(step: Step) -> bool:
    plain = without_prefixes(step)
    at = PAGED_REGISTERS.index("cr0")
    changed = step.core.registers[at] ^ step.peer.registers[at]
    return plain[:2] == b"\x0f\x22" and step.differing == ("cr0",) and not changed & _CR0_BITS


def _fetched_ahead(step: Step) -> bool:
    """A page fault for the page behind, which the instruction does not reach."""
    start = part_of(step.before, CS).base + step.before[EIP]
    executed = step.core.registers[EIP] - step.before[EIP]
    # Capstone does not know every NOP: what the core has gone over tells its length.
    last = start + (executed if 0 < executed < 16 else length(step.mode, step.code)) - 1
    return (
        step.peer.vector == PF
        and step.peer.registers[EIP] == step.before[EIP]
        and step.peer.registers[CR2_AT] == (start | 0xFFF) + 1 & 0xFFFF_FFFF
        and last >> 12 == start >> 12
    )


def _read_before_write(step: Step) -> bool:
    return (
        same_end(step)
        and step.core.vector == PF
        and {"error", "memory"}.issuperset(step.differing)
        and step.core.error | WRITE == step.peer.error | WRITE
        and only_marks_differ(step)
        and any(access.written for access in accesses(step.mode, step.code, step.before))
    )


def _marked_before_fault(step: Step) -> bool:
    return same_end(step) and step.differing == ("memory",) and only_marks_differ(step)


def _flags_before_fault(step: Step) -> bool:
    return (
        same_end(step)
        and step.core.vector == PF
        and "eflags" in step.differing
        and {"eflags", "error", "memory"}.issuperset(step.differing)
        and only_marks_differ(step)
        and step.core.registers[EFLAGS] | _RF == step.before[EFLAGS] | _RF
    )


def _resume_flag_pushed(step: Step) -> bool:
    """It is bit 0 of the third byte pushed."""
    return (
        plain_mnemonic(step).startswith("pushf")
        and bool(step.before[EFLAGS] & _RF)
        and step.differing == ("memory",)
        and step.changes == (_RF >> 16,)
        and step.places[0] in below_stack(step, 4)
    )


def _global_kept(step: Step) -> bool:
    """The core has not walked to a global page anew: marks of its entry are Unicorn's alone."""
    return (
        bool(step.before[CR4_AT] & PAGE_GLOBAL)
        and step.differing == ("memory",)
        and only_marks_differ(step)
        and all(
            bool(step.ram[place + 1] & GLOBAL >> 8) and not step.ram[place] & change
            for place, change in zip(step.places, step.changes, strict=True)
        )
    )


def _fetched_in_part(step: Step) -> bool:
    """Its opcode says already that it is privileged, and its end cannot be fetched."""
    start = part_of(step.before, CS).base + step.before[EIP] & 0xFFFF_FFFF
    return (
        took(step, PF)
        and not step.core.error & WRITE
        and step.core.registers[CR2_AT] == (start | 0xFFF) + 1 & 0xFFFF_FFFF
        and step.peer.vector == GP
        and not step.peer.error
        and step.before[CS] & 3 != 0
        and step.peer.registers[EIP] == step.before[EIP]
    )


def _reserved_bits(step: Step) -> bool:
    return took(step, PF) and bool(step.core.error & _RESERVED)


def _two_strings(step: Step) -> bool:
    name = plain_mnemonic(step)
    return (
        name.startswith("cmps")
        and same_end(step)
        and {"cr2", "error", "memory"}.issuperset(step.differing)
        and only_marks_differ(step)
    )


def _enter_looks_ahead(step: Step) -> bool:
    """Beside which it may write too much of EBP, as known_faults.py has it."""
    if plain_mnemonic(step) != "enter":
        return False
    half = (step.core.registers[EBP] ^ step.peer.registers[EBP]) & 0xFFFF == 0
    marks = {"memory", "cr2", "error", *(("ebp",) if half else ())}.issuperset(step.differing)
    pushed = below_stack(step, _ENTER_FRAME)
    return (marks and only_marks_differ(step, dirty=True, beside=pushed)) or took(step, PF)


def _half_a_table_register(step: Step) -> bool:
    """SGDT and SIDT whose limit is stored already: 2 bytes."""
    stored = {
        physical(step.ram, step.before, part_of(step.before, access.segment).base + at)
        for access in accesses(step.mode, step.code, step.before)
        for at in (access.offset, access.offset + 1)
    }
    return (
        plain_mnemonic(step) in ("sgdt", "sidt")
        and same_end(step)
        and step.core.vector == PF
        and step.differing == ("memory",)
        and only_marks_differ(step, beside=stored)
    )


def _invalid_cr0(step: Step) -> bool:
    plain = without_prefixes(step)
    to_cr0 = plain[:2] == b"\x0f\x22" and not plain[2] >> 3 & 7
    return to_cr0 and took_without_selector(step, GP)


def _pushed_upwards(step: Step) -> bool:
    """What was pushed before the fault lies below the stack pointer."""
    name = plain_mnemonic(step)
    if not name.startswith("pusha") or not same_end(step):
        return False
    return {"cr2", "error", "memory"}.issuperset(step.differing) and only_marks_differ(
        step, dirty=True, beside=below_stack(step, 32)
    )


def _reserved_cr4(step: Step) -> bool:
    plain = without_prefixes(step)
    to_cr4 = plain[:2] == b"\x0f\x22" and plain[2] >> 3 & 7 == 4
    return to_cr4 and took_without_selector(step, GP)


def _adjusted_in_vain(step: Step) -> bool:
    """It stores the destination again: that marks the page, or faults."""
    plain = without_prefixes(step)
    if plain[:1] != b"\x63":
        return False
    faulted = step.peer.vector in (PF,) and step.peer.registers[EIP] == step.before[EIP]
    return (step.differing == ("memory",) and only_marks_differ(step)) or (
        faulted and step.core.stop is Stop.LIMIT and bool(step.peer.error & WRITE)
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
    KnownFault(
        "a privileged instruction need not be fetched whole",
        "SDM vol. 3, table 6-2: faults from fetching come before those from executing",
        _fetched_in_part,
    ),
    KnownFault(
        "large pages reach beyond 4 GiB",
        "SDM vol. 3, 4.3: without PSE-36, which CPUID does not have, those bits are reserved",
        _reserved_bits,
    ),
    KnownFault(
        "PUSHFD stores RF",
        "SDM vol. 2, PUSHF/PUSHFD: VM and RF are cleared in the image that is stored",
        _resume_flag_pushed,
    ),
    KnownFault(
        "SGDT and SIDT store one part though the other faults",
        "SDM vol. 3, 6.5: a fault leaves the state as it was before the instruction",
        _half_a_table_register,
    ),
    *TRANSFER_FAULTS,
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
    KnownFault(
        "global pages stay in the TLB when CR3 is loaded, or not",
        "SDM vol. 3, 4.10.4.1: MOV to CR3 need not invalidate them, and others may go at any time",
        _global_kept,
    ),
    *TRANSFER_RESULTS,
)


def explain_paged(step: Step) -> KnownFault | None:
    """The fault of paged mode that accounts for a step's difference, if it is known."""
    candidates = (*PAGED_FAULTS, *PAGED_RESULTS)
    return next((fault for fault in candidates if fault.explains(step)), None)
