"""Whether the core and Unicorn agree on a case, and where not."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from textwrap import indent
from typing import Final

import numpy as np

from tests.differential import paged_reasons
from tests.differential.case import Case, background, source, table_ranges
from tests.differential.catalogue import row_of, why_excluded
from tests.differential.disassembly import (
    Mode,
    disassemble,
    is_repeated_string,
    length,
    mnemonic,
    opcode,
)
from tests.differential.flags import COMPARED, NT, undefined_after, undefined_flags
from tests.differential.known_faults import Step, explain
from tests.differential.layout import CS, EFLAGS, EIP, ESP, HANDLERS, HIDDEN, PAGED_REGISTERS, RAM
from tests.differential.operands import segment_base, stores_to_its_page
from tests.differential.outcome import UNKNOWN, Outcome, Stop
from tests.differential.paged_core import make_core
from tests.differential.paged_faults import explain_paged
from tests.differential.paged_peer import make_peer
from tests.differential.paging import physical

#: Instructions that Unicorn may take for a case, iterations of repeated ones included: what is
#: longer proves nothing more. The core counts those otherwise and gets enough.
_LIMIT: Final = 500

#: EFLAGS.VM. Unicorn's segments cannot be set as those of virtual-8086 mode.
_VM: Final = 1 << 17
_LISTED_BYTES = 16


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the two sides part."""

    case: Case
    #: What differs: name, the core's, Unicorn's.
    parts: tuple[tuple[str, str, str], ...]
    #: The bytes at the instruction that it comes from, and how many the core ran before it. None
    #: when the sides agree on each instruction alone: then the core differs from itself on a block.
    code: bytes | None = None
    step: int = 0

    @property
    def cause(self) -> str:
        """Short text to tell kinds of differences apart."""
        what = ", ".join(sorted({name.split()[0] for name, _, _ in self.parts}))
        if self.code is None:
            return f"blocks against single steps: {what}"
        return f"{mnemonic(self.case.mode, self.code)}: {what}"

    def __str__(self) -> str:
        lines = ["assert_agree(", indent(source(self.case), "    "), ")"]
        sides = "core", "unicorn"
        if self.code is not None:
            lines.append(f"# at: {disassemble(self.case.mode, self.code)}  ({self.code.hex(' ')})")
        else:
            lines.append("# the core gives another result when it runs one instruction at a time")
            sides = "in steps", "as blocks"
        lines += [
            f"# {what}: {sides[0]} {one}, {sides[1]} {other}" for what, one, other in self.parts
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case: `difference` is None when the sides agree or the reasons are known."""

    difference: Difference | None = None
    #: Names of the known faults of Unicorn, and of other reasons, that account for differences.
    reasons: tuple[str, ...] = ()


_AGREE: Final = Verdict()


class Comparison:
    """Both sides of a mode, used for one case after the other."""

    def __init__(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self.core = make_core(mode)
        self.peer = make_peer(mode)
        self._background = background(mode)

    def compare(self, case: Case) -> Verdict:
        """Run a case on both sides; where they differ, step through it and judge the place."""
        core, peer = self._run(case)
        verdict = self._quick_verdict(case, core, peer)
        self.restore(same=verdict is _AGREE)
        return verdict or self._judge(case, core)

    def _run(self, case: Case) -> tuple[Outcome, Outcome]:
        self.core.load(case)
        self.peer.load(case)
        return self.core.run(4 * _LIMIT), self.peer.run(_LIMIT)

    def restore(self, *, same: bool = False) -> None:
        """Put both sides' RAM back to the background; `same` when both hold the same."""
        words = self.core.restore()
        self.peer.restore(words if same else None)

    def _quick_verdict(self, case: Case, core: Outcome, peer: Outcome) -> Verdict | None:
        """The verdict when it needs no stepping."""
        if peer.stop is Stop.LIMIT:
            return Verdict(reasons=("too long",))
        if core.stop is Stop.OUTSIDE is peer.stop:
            return Verdict()
        return _AGREE if self._same(core, peer, case) else None

    def _same(self, core: Outcome, peer: Outcome, case: Case) -> bool:
        if core.stop is not peer.stop or core.vector != peer.vector or core.outputs != peer.outputs:
            return False
        if core.error != peer.error or core.registers[:EFLAGS] != peer.registers[:EFLAGS]:
            return False
        rest = zip(core.registers[HIDDEN:], peer.registers[HIDDEN:], strict=True)
        if any(mine not in (theirs, UNKNOWN) for mine, theirs in rest) or not self._same_memory():
            return False
        flags = (core.registers[EFLAGS] ^ peer.registers[EFLAGS]) & COMPARED
        return not flags or not flags & ~undefined_after(self.mode, case.code, case.registers)

    def _same_memory(self) -> bool:
        frame = self.core.frame
        if frame:
            self.peer.ram[frame] = self.core.ram[frame]
        return np.array_equal(self.core.ram.view(np.uint64), self.peer.ram.view(np.uint64))

    def _judge(self, case: Case, block_outcome: Outcome) -> Verdict:
        """Step both sides through a case, Unicorn following the core where nothing is defined."""
        self.core.load(case)
        self.peer.load(case)
        try:
            return self._stepped(case, block_outcome)
        finally:
            self.restore()

    def _stepped(self, case: Case, block_outcome: Outcome) -> Verdict:
        reasons: list[str] = []
        for step in range(_LIMIT):
            before, code = self.core.registers(), self.core.fetch()
            core, peer = self.core.step(), self.peer.step()
            unfinished = peer.stop is Stop.LIMIT and peer.registers[EIP] == before[EIP]
            if unfinished and is_repeated_string(code):
                return Verdict(reasons=(*reasons, "too long"))
            excluded = why_excluded(self.mode, code)
            if excluded is not None:
                return Verdict(reasons=(*reasons, f"{mnemonic(self.mode, code)} {excluded}"))
            undefined = undefined_flags(self.mode, code, before)
            if self.mode == "paged":
                states = before, core.registers, peer.registers
                if paged_reasons.forgive_fetches(self.core.ram, self.peer.ram, *states):
                    reasons.append("accessed bits of code pages")
            parts = self._parts(core, peer, undefined)
            if parts:
                names = tuple(dict.fromkeys(name.split()[0] for name, _, _ in parts))
                reason = self._reason(self._step(code, before, core, peer, names))
                if reason is None:
                    return Verdict(Difference(case, parts, code, step), tuple(reasons))
                reasons.append(reason)
            if core.stop is not Stop.LIMIT:
                break
            if self.mode == "flat32" and core.registers[EFLAGS] & _VM:
                return Verdict(reasons=(*reasons, "virtual-8086 mode"))
            if parts or core.registers[EFLAGS] ^ peer.registers[EFLAGS]:
                self.peer.adopt(core, self.core.ram)
        else:
            return Verdict(reasons=(*reasons, "too long"))
        if block_outcome.stop is Stop.LIMIT:
            return Verdict(reasons=(*reasons, "too long"))
        parts = _register_parts(core, block_outcome, 0)
        if core.stop is not block_outcome.stop or parts:
            stops = (("stop", core.stop.value, block_outcome.stop.value),)
            return Verdict(Difference(case, parts or stops), tuple(reasons))
        return Verdict(reasons=tuple(reasons) or ("undefined flags",))

    def _step(
        self,
        code: bytes,
        before: tuple[int, ...],
        core: Outcome,
        peer: Outcome,
        names: tuple[str, ...],
    ) -> Step:
        ram, theirs = self.core.ram, self.peer.ram
        places = np.flatnonzero(ram != theirs)
        changes = tuple((ram[places] ^ theirs[places]).tolist())
        return Step(
            self.mode, code, before, core, peer, names, ram, tuple(places.tolist()), changes
        )

    def _reason(self, step: Step) -> str | None:
        """Why this difference says nothing against the core, or None."""
        fault = explain(step) or (explain_paged(step) if self.mode == "paged" else None)
        if fault is not None:
            return fault.name
        if step.core_took(6) and row_of(step.code) is None:
            return "not in the instruction set"
        if self.mode == "paged" and (reason := paged_reasons.explain(step)):
            return reason
        if self._leaves_flat_mode(step):
            return "IRET to virtual-8086 mode or another task"
        if self._finds_no_stack(step):
            return "no stack in RAM for an exception"
        if is_repeated_string(step.code) and self._overwritten(step):
            return "a repeated instruction overwrites itself"
        stuck = step.peer.registers[:EFLAGS] == step.before[:EFLAGS]
        own_page = stores_to_its_page(self.mode, step.code, step.before, step.ram)
        if step.core.stop is step.peer.stop is Stop.LIMIT and (stuck or own_page):
            return "Unicorn, stepping, does a store to its own page twice or not at all"
        if step.core.stop is Stop.EXCEPTION and 0 <= self._linear(step.peer) - HANDLERS < 256:
            return "a jump among the handlers passes for an exception"
        delivered = step.peer.stop is Stop.EXCEPTION
        if delivered and any(self._changed(places) for places in table_ranges(self.mode)):
            return "the tables were overwritten"
        return None

    def _linear(self, outcome: Outcome) -> int:
        return segment_base(self.mode, outcome.registers, CS) + outcome.registers[EIP]

    def _overwritten(self, step: Step) -> bool:
        first = step.before[EIP] + segment_base(self.mode, step.before, CS)
        first = physical(step.ram, step.before, first)
        size = length(self.mode, step.code)
        return self.core.ram[first : first + size].tobytes() != step.code[:size]

    def _finds_no_stack(self, step: Step) -> bool:
        """Whether an exception was taken that had to be pushed outside RAM."""
        taken = (
            step.peer.stop is Stop.EXCEPTION
            or step.core.stop is Stop.SHUTDOWN
            or 0 < step.core.registers[EIP] - HANDLERS <= 256
        )
        pointers = step.before[ESP], step.peer.registers[ESP]
        outside = not all(16 <= pointer <= RAM for pointer in pointers)
        return taken and self.mode == "flat32" and outside

    def _leaves_flat_mode(self, step: Step) -> bool:
        """Whether this is an IRET with NT set, or one that pops EFLAGS with VM set."""
        if self.mode != "flat32" or opcode(step.code)[0] != 0xCF:
            return False
        esp = step.before[ESP]
        return bool(step.before[EFLAGS] & NT or (esp < RAM - 12 and self.core.ram[esp + 10] & 2))

    def _changed(self, places: range) -> bool:
        where = slice(places.start, places.stop)
        return not np.array_equal(self.peer.ram[where], self._background[where])

    def _parts(
        self, core: Outcome, peer: Outcome, undefined: int
    ) -> tuple[tuple[str, str, str], ...]:
        if core.stop is not peer.stop or core.vector != peer.vector:
            return (("stop", _stop(core), _stop(peer)),)
        if core.stop is Stop.OUTSIDE:
            return ()
        parts = list(_register_parts(core, peer, undefined))
        if core.error != peer.error:
            parts.append(("error", f"{core.error:#x}", f"{peer.error:#x}"))
        if core.outputs != peer.outputs:
            parts.append(("outputs", str(core.outputs), str(peer.outputs)))
        if not self._same_memory():
            mine, theirs = self.core.ram, self.peer.ram
            for address in np.flatnonzero(mine != theirs)[:_LISTED_BYTES].tolist():
                parts.append(
                    (f"memory [{address:#x}]", f"{mine[address]:02x}", f"{theirs[address]:02x}")
                )
        return tuple(parts)


def _stop(outcome: Outcome) -> str:
    vector = f" {outcome.vector}" if outcome.vector >= 0 else ""
    return f"{outcome.stop.value}{vector} at eip {outcome.registers[EIP]:#x}"


def _register_parts(
    one: Outcome, other: Outcome, undefined: int
) -> tuple[tuple[str, str, str], ...]:
    parts = []
    pairs = zip(one.registers, other.registers, strict=True)
    for name, (mine, theirs) in zip(PAGED_REGISTERS, pairs, strict=False):
        if UNKNOWN in (mine, theirs):
            continue
        mask = COMPARED & ~undefined if name == "eflags" else 0xFFFF_FFFF
        if (mine ^ theirs) & mask:
            parts.append((name, f"{mine & mask:#x}", f"{theirs & mask:#x}"))
    return tuple(parts)


@functools.cache
def comparison(mode: Mode) -> Comparison:
    """The one comparison of a mode that tests share."""
    return Comparison(mode)


def assert_agree(case: Case) -> None:
    """Fail with the place and the parts when the core and Unicorn differ on a case."""
    difference = comparison(case.mode).compare(case).difference
    assert difference is None, f"\n{difference}"
