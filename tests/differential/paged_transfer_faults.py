"""Where Unicorn 2.1.4 is wrong in paged mode about calls, returns and task switches.

Each with the section of the SDM that proves it, as in paged_faults.py.
"""

from __future__ import annotations

from typing import Final

from tests.differential.known_faults import KnownFault, Step
from tests.differential.layout import (
    CR2_AT,
    CS,
    EIP,
    ESP,
    GDT,
    GENERAL,
    LDT,
    PAGED_REGISTERS,
    SEGMENTS,
    SS,
    TR,
    TSS,
    hidden,
)
from tests.differential.outcome import Stop
from tests.differential.paged_step import (
    GP,
    NP,
    PF,
    SS_FAULT,
    TS,
    WRITE,
    below_stack,
    only_descriptors_marked,
    only_marks_differ,
    part_of,
    plain_mnemonic,
    same_end,
    took,
    took_without_selector,
    without_prefixes,
)
from tests.differential.paging import USER, physical

_FAR = ("ljmp", "lcall", "call", "jmp", "retf", "iret")
#: The most that a call gate pushes, and that it copies.
_GATE_FRAME, _PARAMETERS = 4 * (4 + 31), 4 * 31
#: Where the TSS has the stack pointers of levels 0 to 2.
_INNER_STACKS = (TSS + 4, TSS + 12, TSS + 20)


def _supervisor_stack(step: Step) -> bool:
    """Of far calls and returns at level 3."""
    name = plain_mnemonic(step)
    return (
        name.startswith(("call", "lcall", "ret", "iret"))
        and step.before[CS] & 3 == 3
        and took(step, PF)
        and bool(step.core.error & USER)
    )


def _unmarked(step: Step) -> bool:
    """Of far transfers and task switches: the accessed bit is bit 0 of the sixth byte."""
    names = {f"{segment}_access" for segment in SEGMENTS}
    far = plain_mnemonic(step).startswith(_FAR)
    if not far or not {"memory", *names}.issuperset(step.differing):
        return False
    core, peer = step.core.registers, step.peer.registers
    parts = (PAGED_REGISTERS.index(name) for name in step.differing if name in names)
    marked = all(core[part] == peer[part] | 1 for part in parts)
    return marked and only_descriptors_marked(step)


def _fault_in_task(step: Step) -> bool:
    return (
        step.core.registers[TR] != step.before[TR]
        and step.core.stop is step.peer.stop is Stop.EXCEPTION
        and step.core.vector == step.peer.vector
        and {"eip", "memory"}.issuperset(step.differing)
        and step.peer.registers[EIP] == step.before[EIP]
        and only_descriptors_marked(step)
    )


def _conforming_in_task(step: Step) -> bool:
    """The new CS is loaded by the core, and refused by Unicorn with its selector."""
    core, peer = step.core, step.peer
    selector, access = core.registers[CS], core.registers[hidden(CS) + 2]
    refused = peer.vector == TS and peer.error == selector & 0xFFFC
    entry = (LDT if selector & 4 else GDT) + (selector & 0xFFF8)
    if access < 0:
        access = int(step.ram[entry + 5])
    return core.registers[TR] != step.before[TR] and refused and access & 0x1C == 0x1C


def _absent_behind_gate(step: Step) -> bool:
    name = plain_mnemonic(step)
    same = step.core.error == step.peer.error and step.peer.vector == GP
    return name.startswith(("jmp", "ljmp")) and same and step.core_took(NP)


def _wide_gate(step: Step) -> bool:
    name = plain_mnemonic(step)
    core, peer = step.core.registers[EIP], step.peer.registers[EIP]
    return name.startswith(_FAR) and core == peer & 0xFFFF and "eip" in step.differing


def _beyond_target(step: Step) -> bool:
    """Unicorn pushes the return address, and names the segment that the offset is beyond of."""
    core, peer = step.core, step.peer
    return (
        plain_mnemonic(step).startswith(("call", "lcall", "jmp", "ljmp"))
        and same_end(step)
        and core.vector == GP
        and not core.error
        and peer.error & 0xFFFC != 0
        and {"error", "memory"}.issuperset(step.differing)
        and _only_pushed(step)
    )


def _only_pushed(step: Step) -> bool:
    """Whether memory differs only in page marks and below a stack that the instruction may use."""
    pointers = [int.from_bytes(step.ram[at : at + 4].tobytes(), "little") for at in _INNER_STACKS]
    inner = {
        physical(step.ram, step.before, pointer - distance & 0xFFFF_FFFF)
        for pointer in pointers
        for distance in range(1, _GATE_FRAME + 1)
    }
    return only_marks_differ(step, dirty=True, beside=inner | below_stack(step, _GATE_FRAME))


def _pushes_before_target(step: Step) -> bool:
    """A near call beyond the limit of CS, for which there is no room on the stack."""
    peer = step.peer
    below = part_of(step.before, SS).base + step.before[ESP] - peer.registers[CR2_AT] & 0xFFFF_FFFF
    return (
        plain_mnemonic(step) == "call"
        and took_without_selector(step, GP)
        and peer.vector == PF
        and bool(peer.error & WRITE)
        and below <= 4
    )


def _conforming_behind_gate(step: Step) -> bool:
    """Unicorn takes the level of the segment for that of the processor."""
    core, peer = step.core.registers[CS], step.peer.registers[CS]
    kept = core == peer & ~3 | step.before[CS] & 3
    return plain_mnemonic(step).startswith(_FAR) and step.differing == ("cs",) and kept


def _absent_stack(step: Step) -> bool:
    """Of a new task, or of the outer level that is returned to."""
    core, peer = step.core, step.peer
    returns = plain_mnemonic(step).startswith(("ret", "iret"))
    absent = core.vector == SS_FAULT and peer.vector == NP and core.error == peer.error != 0
    return absent and (returns or core.registers[TR] != step.before[TR])


def _null_kept(step: Step) -> bool:
    """Of a null selector that is not 0: the return to an outer level clears what may not stay."""
    core, peer, names = step.core.registers, step.peer.registers, {"es", "ds", "fs", "gs"}
    return (
        plain_mnemonic(step).startswith(("ret", "iret"))
        and core[CS] & 3 > step.before[CS] & 3
        and names.issuperset(step.differing)
        and all(
            core[at] == 0 and peer[at] <= 3
            for at in (len(GENERAL) + SEGMENTS.index(name) for name in step.differing)
        )
    )


def _parameters_in_any_order(step: Step) -> bool:
    part = part_of(step.before, SS)
    core, peer = (outcome.registers[CR2_AT] for outcome in (step.core, step.peer))
    first = part.base + step.before[ESP]
    return (
        plain_mnemonic(step).startswith(("call", "lcall"))
        and same_end(step)
        and step.core.vector == PF
        and {"cr2", "error", "memory"}.issuperset(step.differing)
        and all(at - first & 0xFFFF_FFFF < _PARAMETERS for at in (core, peer))
        and _only_pushed(step)
    )


def _overlapping_stacks(step: Step) -> bool:
    """The inner stack's frame lies where the parameters are read."""
    core = step.core.registers
    old = physical(step.ram, step.before, part_of(step.before, SS).base + step.before[ESP])
    new = physical(step.ram, step.before, part_of(core, SS).base + core[ESP])
    return (
        plain_mnemonic(step).startswith(("call", "lcall"))
        and step.core.stop is step.peer.stop is Stop.LIMIT
        and step.differing == ("memory",)
        and new - _PARAMETERS < old < new + _GATE_FRAME
        and all(place - new in range(_GATE_FRAME) for place in step.places)
    )


def _null_task(step: Step) -> bool:
    plain = without_prefixes(step)
    loads_task = plain[:2] == b"\x0f\x00" and plain[2] >> 3 & 7 == 3
    return loads_task and took_without_selector(step, GP) and step.peer.registers[TR] & ~3 == 0


TRANSFER_FAULTS: Final = (
    KnownFault(
        "far calls and returns use the stack with a supervisor's rights",
        "SDM vol. 3, 4.6: what an instruction accesses at level 3 is accessed as a user",
        _supervisor_stack,
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
        "a call beyond the limit of its target pushes first, and names the segment",
        "SDM vol. 2, CALL, Operation: #GP(0), before the return address is pushed",
        _beyond_target,
    ),
    KnownFault(
        "a near call pushes before it looks at the limit",
        "SDM vol. 2, CALL, Operation: the target is checked first, #GP(0) beyond the CS limit",
        _pushes_before_target,
    ),
    KnownFault(
        "a call through a gate to conforming code changes the privilege level",
        "SDM vol. 2, CALL, Operation, SAME-PRIVILEGE: CS(RPL) = CPL",
        _conforming_behind_gate,
    ),
    KnownFault(
        "a new stack segment that is not present raises #NP",
        "SDM vol. 3, table 7-1, and vol. 2, RET and IRET: #SS with the segment's selector",
        _absent_stack,
    ),
    KnownFault(
        "a null selector stays as it is in a return to an outer level",
        "SDM vol. 2, RET, Operation: a register that may not stay becomes the null selector, 0",
        _null_kept,
    ),
    KnownFault(
        "LTR takes a null selector",
        "SDM vol. 2, LTR: #GP(0) if the source is a null selector",
        _null_task,
    ),
)

#: Where the manual leaves a result open.
TRANSFER_RESULTS: Final = (
    KnownFault(
        "the parameters of a call gate are copied in any order",
        "SDM vol. 2, CALL, Operation, MORE-PRIVILEGE: their number is given, not their order",
        _parameters_in_any_order,
    ),
    KnownFault(
        "the parameters of a call gate are copied to where they lie",
        "SDM vol. 2, CALL, Operation, MORE-PRIVILEGE: not how far they are read before the pushes",
        _overlapping_stacks,
    ),
)
