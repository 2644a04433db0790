"""Where Unicorn 2.1.4 is wrong: each with the section of the Intel SDM that proves it.

A predicate sees one instruction, the state before it, and both outcomes. It must be narrow: what it
accepts is never reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.differential.disassembly import PREFIXES, Mode, has_prefix, length, mnemonic, opcode
from tests.differential.flags import DF, TF
from tests.differential.layout import CODE32, EBP, EDI, EFLAGS, EIP, ESI, ESP, GENERAL, SS
from tests.differential.operands import accesses
from tests.differential.outcome import Outcome, Stop

_DB, _UD, _SS, _GP = 1, 6, 12, 13


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction on both sides."""

    mode: Mode
    code: bytes
    before: tuple[int, ...]
    core: Outcome
    peer: Outcome
    #: Names of what differs: registers, "outputs", "memory"; or "stop" alone. Each once.
    differing: tuple[str, ...]
    #: The core's RAM, and the addresses at which Unicorn's has something else.
    ram: NDArray[np.uint8]
    places: tuple[int, ...] = ()
    #: The bits that differ there.
    changes: tuple[int, ...] = ()

    def core_took(self, vector: int) -> bool:
        """Whether the core, and not Unicorn, took this exception at this instruction."""
        return (
            self.core.stop is Stop.EXCEPTION
            and self.core.vector == vector
            and self.core.registers[EIP] == self.before[EIP]
            and (self.peer.vector != vector or self.peer.registers[EIP] != self.before[EIP])
        )


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault of Unicorn, or a result that processors need not share."""

    name: str
    #: What a processor does instead, or may do, and where the manual says so.
    proof: str
    explains: Callable[[Step], bool]


def _only_upper_half_differs(step: Step) -> str | None:
    """The one general register in whose upper half lies all of the difference, or None."""
    (name, *others) = step.differing
    if others or name not in GENERAL:
        return None
    number = GENERAL.index(name)
    same = (step.core.registers[number] ^ step.peer.registers[number]) & 0xFFFF == 0
    return name if same else None


def _lock_without_right(step: Step) -> bool:
    return step.core_took(_UD) and has_prefix(step.code, b"\xf0")


def _beyond_limit(step: Step) -> bool:
    limit = 0x1_0000 if step.mode == "real" else 0x1_0000_0000
    if not (step.core_took(_GP) or step.core_took(_SS)):
        return False
    # A repeated instruction faults with its registers as the iteration before left them, or, with
    # words in real mode, moved on already.
    distance = -2 if step.before[EFLAGS] & DF else 2
    moved_on = list(step.core.registers)
    for number in (ESI, EDI):
        moved_on[number] = moved_on[number] & ~0xFFFF | moved_on[number] - distance & 0xFFFF
    return any(
        access.offset + access.size > limit and (access.segment == SS) == (step.core.vector == _SS)
        for registers in (step.before, step.core.registers, tuple(moved_on))
        for access in accesses(step.mode, step.code, registers)
    )


def _near_an_end_of_the_stack(step: Step, size: int, *pointers: int) -> bool:
    """Whether one of these registers is less than so many bytes away from the ends of the stack."""
    limit = 0x1_0000 if step.mode == "real" else 0x1_0000_0000
    offsets = (step.before[pointer] % limit for pointer in pointers)
    return any(offset > limit - size or offset < size for offset in offsets)


def _stack_beyond_limit(step: Step) -> bool:
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    if not step.core_took(_SS):
        return False
    if name in ("enter", "leave"):
        # ENTER pushes EBP, up to 30 frame pointers that it reads below EBP, and its own.
        return _near_an_end_of_the_stack(step, 4 * 33, ESP, EBP)
    # The widest of these is PUSHAD.
    return name.startswith(
        ("push", "pop", "call", "lcall", "ret", "iret")
    ) and _near_an_end_of_the_stack(step, 32, ESP)


def _fetch_beyond_limit(step: Step) -> bool:
    last = step.before[EIP] + length(step.mode, step.code) - 1
    pushed = step.core.registers[EIP] == step.before[EIP] & 0xFFFF
    return step.mode == "real" and step.core.vector == _GP and pushed and last > 0xFFFF


def _target_beyond_limit(step: Step) -> bool:
    return step.mode == "real" and step.core_took(_GP) and step.peer.registers[EIP] > 0xFFFF


def _null_or_read_only(step: Step) -> bool:
    return (
        step.mode == "flat32"
        and step.core_took(_GP)
        and any(
            step.before[access.segment] & ~3 == 0
            or (step.before[access.segment] & ~7 == CODE32 and access.written)
            for access in accesses(step.mode, step.code, step.before)
        )
    )


def _no_room_for_the_frame(step: Step) -> bool:
    sp = step.before[ESP] & 0xFFFF
    return step.mode == "real" and step.core.stop is Stop.SHUTDOWN and sp in (1, 3, 5)


def _release_of_half_the_stack(step: Step) -> bool:
    registers, theirs = list(step.core.registers), step.peer.registers
    first, _ = opcode(step.code)
    if first not in (0xC2, 0xCA) or (registers[ESP] - 0x1_0000) & 0xFFFF_FFFF != theirs[ESP]:
        return False
    registers[ESP] = theirs[ESP]
    return step.mode == "flat32" and tuple(registers) == theirs


def _group_of_one(step: Step) -> bool:
    first, second = opcode(step.code)
    return (
        first in (0x8F, 0xC6, 0xC7)
        and second is not None
        and second >> 3 & 7 != 0
        and step.core_took(_UD)
    )


def _test_alias(step: Step) -> bool:
    first, second = opcode(step.code)
    return (
        first in (0xF6, 0xF7)
        and second is not None
        and second >> 3 & 7 == 1
        and step.core.vector != _UD
        and step.peer.vector == _UD
    )


def _locked_negation(step: Step) -> bool:
    first, second = opcode(step.code)
    return (
        first in (0xF6, 0xF7)
        and second is not None
        and second >> 3 & 7 == 3
        and has_prefix(step.code, b"\xf0")
        and (step.core.stop, step.core.vector) == (step.peer.stop, step.peer.vector)
        and step.core.registers[:EFLAGS] == step.peer.registers[:EFLAGS]
    )


def _pause_while_stepping(step: Step) -> bool:
    return (
        opcode(step.code)[0] == 0x90
        and has_prefix(step.code, b"\xf3")
        and bool(step.before[EFLAGS] & TF)
        and step.core.vector == 1
        and step.core.registers[:EFLAGS] == step.peer.registers[:EFLAGS]
    )


def _int1(step: Step) -> bool:
    return (
        opcode(step.code)[0] == 0xF1
        and step.core.vector == _DB
        and step.peer.vector == _UD
        and step.peer.registers[:EFLAGS] == step.before[:EFLAGS]
    )


def _hint_of_a_register(step: Step) -> bool:
    plain = step.code.lstrip(bytes(PREFIXES))
    return (
        plain[:2] == b"\x0f\x18"
        and plain[2:3] >= b"\xc0"
        and step.core.vector != _UD
        and step.peer.vector == _UD
    )


def _vex(step: Step) -> bool:
    first, second = opcode(step.code)
    return (
        step.mode != "real"
        and first in (0xC4, 0xC5)
        and second is not None
        and second >= 0xC0
        and step.core_took(_UD)
    )


def _frame_pointer_as_wide_as_the_stack(step: Step) -> bool:
    return mnemonic(step.mode, step.code) == "enter" and _only_upper_half_differs(step) == "ebp"


def _frame_pointer_borrows(step: Step) -> bool:
    return (
        step.mode == "real"
        and mnemonic(step.mode, step.code) == "enter"
        and has_prefix(step.code, b"\x66")
        and step.before[ESP] & 0xFFFF < 4
        and {"memory", "ebp"}.issuperset(step.differing)
    )


_IN_TWO_PARTS = re.compile("lcall|ljmp|l[edsfg]s|bound|s[gi]dt|cmpxchg8b")


def _second_part_beyond_64k(step: Step) -> bool:
    name = mnemonic(step.mode, step.code).rpartition(" ")[2]
    if name.startswith("retf") and step.mode == "real":
        return step.before[ESP] & 0xFFFF > 0x1_0000 - 8
    wide_address = (step.mode != "real") ^ has_prefix(step.code, b"\x67")
    return (
        _IN_TWO_PARTS.fullmatch(name) is not None
        and not wide_address
        and any(
            access.offset > 0x1_0000 - 8 for access in accesses(step.mode, step.code, step.before)
        )
    )


def _int6(step: Step) -> bool:
    return (
        opcode(step.code) == (0xCD, 6)
        and step.core.vector == step.peer.vector == _UD
        and step.peer.registers == step.before
    )


def _task_register_from_null(step: Step) -> bool:
    return step.core_took(_GP) and mnemonic(step.mode, step.code) == "ltr"


def _smsw(step: Step) -> bool:
    return mnemonic(step.mode, step.code) == "smsw" and _only_upper_half_differs(step) is not None


KNOWN_FAULTS: Final = (
    KnownFault(
        "LOCK is ignored where it may not stand",
        "SDM vol. 2, LOCK: #UD unless the instruction is in its list and writes to memory",
        _lock_without_right,
    ),
    KnownFault(
        "no segment limits",
        "SDM vol. 3, 5.3 and 21.1.1: #GP, or #SS in the stack segment, beyond the last offset",
        _beyond_limit,
    ),
    KnownFault(
        "the stack wraps in the middle of an operand",
        "SDM vol. 3, 5.3 and 21.1.1: #SS beyond the last offset of the stack segment",
        _stack_beyond_limit,
    ),
    KnownFault(
        "instructions are fetched from beyond the code segment",
        "SDM vol. 3, 5.3: the limit check includes instruction fetches",
        _fetch_beyond_limit,
    ),
    KnownFault(
        "a jump leaves the code segment",
        "SDM vol. 2, CALL, JMP, RET, IRET, Real-Address Mode Exceptions: #GP beyond the CS limit",
        _target_beyond_limit,
    ),
    KnownFault(
        "null selectors and read-only segments are accessed",
        "SDM vol. 3, 5.4 and 5.4.1: #GP for an access by a null selector or a write to code",
        _null_or_read_only,
    ),
    KnownFault(
        "a frame that wraps around offset 0 is not looked at",
        "SDM vol. 3, 6.15 (#DF): a stack fault while a real-mode exception is delivered",
        _no_room_for_the_frame,
    ),
    KnownFault(
        "RET and RETF take the bytes to release as signed",
        "SDM vol. 2, RET: the operand is a count of bytes and is added to ESP",
        _release_of_half_the_stack,
    ),
    KnownFault(
        "8F, C6 and C7 ignore the reg field",
        "SDM vol. 2, appendix A, table A-6: groups 1A and 11 have no member but /0",
        _group_of_one,
    ),
    KnownFault(
        "F6 /1 and F7 /1 are invalid opcodes",
        "SDM vol. 2, appendix A, table A-6: group 3, /0 and /1 are TEST (AMD APM vol. 3, A.2)",
        _test_alias,
    ),
    KnownFault(
        "LOCK NEG sets flags from a wrong result",
        "SDM vol. 2, NEG, Flags Affected: set according to the result",
        _locked_negation,
    ),
    KnownFault(
        "PAUSE loses its single-step trap",
        "SDM vol. 3, 18.3.1.4: with TF set, #DB after each instruction",
        _pause_while_stepping,
    ),
    KnownFault(
        "INT 6 is an invalid opcode",
        "SDM vol. 2, INT n/INTO/INT3/INT1: a software interrupt returns to the next instruction",
        _int6,
    ),
    KnownFault(
        "INT1 is an invalid opcode",
        "SDM vol. 2, INT n/INTO/INT3/INT1: F1 generates a debug exception",
        _int1,
    ),
    KnownFault(
        "0F 18 with a register is an invalid opcode",
        "SDM vol. 2, appendix A, table A-6: in group 16 what is no prefetch is a reserved NOP",
        _hint_of_a_register,
    ),
    KnownFault(
        "VEX prefixes are taken without AVX",
        "SDM vol. 2, LDS/LES/LFS/LGS/LSS: #UD when the source is not in memory",
        _vex,
    ),
    KnownFault(
        "ENTER writes as much of EBP as the stack is wide",
        "SDM vol. 2, ENTER, Operation: EBP or BP by operand size",
        _frame_pointer_as_wide_as_the_stack,
    ),
    KnownFault(
        "ENTER borrows from the upper half of ESP where SP wraps",
        "SDM vol. 2, ENTER, Operation: FrameTemp is ESP after the push, which moves SP alone",
        _frame_pointer_borrows,
    ),
    KnownFault(
        "the second part of an operand lies beyond the reach of 16-bit addresses",
        "SDM vol. 1, 3.3.5: with 16-bit addresses an offset has 16 bits",
        _second_part_beyond_64k,
    ),
    KnownFault(
        "LTR takes a null selector",
        "SDM vol. 2, LTR, Protected Mode Exceptions: #GP for a NULL segment selector",
        _task_register_from_null,
    ),
)

#: Where the manual leaves a result open: each with the section that says so.
UNDEFINED_RESULTS: Final = (
    KnownFault(
        "SMSW leaves the upper half of a register undefined",
        "SDM vol. 2, SMSW: the upper 16 bits of a 32-bit register are undefined",
        _smsw,
    ),
)


def explain(step: Step) -> KnownFault | None:
    """The fault, or the undefined result, that accounts for a step's difference, if it is known."""
    candidates = (*KNOWN_FAULTS, *UNDEFINED_RESULTS)
    return next((fault for fault in candidates if fault.explains(step)), None)
