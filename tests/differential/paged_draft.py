"""A paged case while it is drawn: page tables, descriptors, segments and a privilege level.

Most segments are flat and most pages may be used, so that cases get somewhere; a few are not.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tests.differential.case import Case, background, default_registers
from tests.differential.catalogue import Form
from tests.differential.draft import OPERAND_SIZE
from tests.differential.layout import (
    CODE,
    CR0_AT,
    CR4_AT,
    CS,
    DATA,
    DATA_END,
    DIRECTORY,
    EAX,
    EDX,
    EFLAGS,
    EIP,
    ESP,
    GDT,
    LDT,
    SS,
    hidden,
)
from tests.differential.paging import (
    ACCESSED,
    ALIAS_TABLE,
    ALIASES,
    DIRTY,
    GLOBAL,
    IDENTITY_TABLE,
    LARGE,
    OTHER_DIRECTORY,
    PAGE_GLOBAL,
    PRESENT,
    USER,
    WRITABLE,
    WRITE_PROTECT,
)
from tests.differential.prepared import PRELUDES, Prelude, Prepared
from tests.differential.protection import (
    FIRST_FREE,
    GDT_ENTRIES,
    LDT_ENTRIES,
    OTHER_TSS,
    code_selector,
    data_selector,
    gate_target,
    loaded,
)
from tests.support import descriptor, gate

_DATA_PAGES: Final = range(DATA >> 12, DATA_END >> 12)
#: Entries of the GDT and LDT that hold call gates, in `protection`.
_GATES: Final = range(22, 29)
_SELECTED: Final = ("LAR", "LSL", "VERR", "VERW", "LLDT", "LTR")
#: What these are about, and what may be loaded into LDTR and TR.
_SYSTEM_SELECTORS: Final = {"LLDT": (0x50, 0xE8, 0), "LTR": (0xF0,)}
#: Of the TSS descriptor for another task.
_TASK: Final = 0xF0
_BY_IOPL: Final = ("CLI", "STI", "IN", "OUT", "INS", "OUTS")


class PagedDraft(Prepared):
    """A draft with tables of its own."""

    @property
    def preludes(self) -> Mapping[str, Prelude]:
        return _PRELUDES

    def finish(self) -> Case:
        return replace(super().finish(), memory=self._memory)

    def _wanted(self, form: Form) -> float:
        if self._level and form.privileged:
            return 0.1
        iopl = self._registers[EFLAGS] >> 12 & 3
        if self._level > iopl and form.mnemonic in _BY_IOPL:
            return 0.3
        return 0.3 if form.mnemonic == "INT" else super()._wanted(form)

    # State

    def _initial_registers(self) -> list[int]:
        random, chance = self._random, self._chance
        registers = super()._initial_registers()
        registers += default_registers("paged")[len(registers) :]
        self._memory: dict[int, bytes] = {}
        self._level = level = random.choice((0, 0, 1, 2, 3, 3, 3))
        self._change_pages()
        self._change_descriptors()
        self._prepare_task()
        registers[CS] = code_selector(level)
        if chance() < 0.1:
            # Not in place of what the handlers use.
            registers[CS] = 8 * FIRST_FREE | level
            self._memory[GDT + 8 * FIRST_FREE] = descriptor(
                *((ALIASES[random.randrange(3)], 0xFFFFF) if chance() < 0.8 else (0, 0x2F)),
                0xC09B | level << 5 | random.choice((0, 0, 4)),
            )
        stack = data_selector(level)
        if chance() < 0.15:
            # With 16-bit offsets, or one that grows down from 4 GiB or from 64 KiB.
            registers[ESP] = random.randrange(0x1000, 0xF000)
            base, limit, access = random.choice(
                ((DATA, 0xFFFF, 0x0093), (DATA, 0x7FFF, 0x4093), (DATA, 0xFF, 0x0097))
            )
            stack = 8 * (FIRST_FREE + 1) | level
            self._memory[GDT + (stack & ~7)] = descriptor(base, limit, access | level << 5)
        elif chance() < 0.3:
            registers[ESP] += random.choice(ALIASES)
        registers[ESP] &= 0xFFFF_FFFF
        registers[SS] = stack
        for segment in (8, 11, 12, 13):
            registers[segment] = data_selector(3)
            if chance() < 0.15:
                registers[segment] = self._loadable()
        for segment in range(8, 14):
            at = hidden(segment)
            if registers[segment] & 0xFFFC:
                registers[at : at + 3] = loaded(self._entry(registers[segment]))
            else:
                registers[at : at + 3] = (0, 0, 0)
        if chance() < 0.4:
            registers[CR0_AT] &= ~WRITE_PROTECT
        if chance() < 0.2:
            registers[CR4_AT] &= ~PAGE_GLOBAL
        registers[EFLAGS] |= random.choice((0, 0x3000, 0x3000, random.getrandbits(2) << 12))
        if chance() < 0.5:
            registers[EFLAGS] |= 0x200
        if registers[hidden(CS) + 1] < 0x10_0000:
            registers[EIP] = CODE + random.randrange(0x1000, 0x2000)
        elif chance() < 0.1:
            # So that the code goes on in the next page.
            registers[EIP] = (registers[EIP] | 0xFFF) - random.randrange(0x30)
        return registers

    def _change_pages(self) -> None:
        random = self._random
        for _ in range(random.choice((0, 1, 2, 4, 8))):
            number = random.choice(_DATA_PAGES)
            frame = random.choice(_DATA_PAGES) if self._chance() < 0.3 else number
            table = random.choice((IDENTITY_TABLE, ALIAS_TABLE))
            self._store(table + 4 * number, frame << 12 | self._page_flags())
        if self._chance() < 0.1:
            number = (CODE >> 12) + random.randrange(1, 4)
            self._store(IDENTITY_TABLE + 4 * number, number << 12 | self._page_flags())
        if self._chance() < 0.15:
            alias = random.choice(ALIASES)
            large = alias in ALIASES[1:3]
            flags = self._page_flags()
            self._store(
                DIRECTORY + (alias >> 20),
                flags | LARGE if large else ALIAS_TABLE | flags & ~GLOBAL,
            )

    def _page_flags(self) -> int:
        flags = self._random.getrandbits(12) & (ACCESSED | DIRTY | GLOBAL)
        for flag, usual in ((PRESENT, 0.8), (WRITABLE, 0.7), (USER, 0.8)):
            flags |= flag if self._chance() < usual else 0
        return flags

    def _store(self, at: int, entry: int) -> None:
        self._memory[at] = entry.to_bytes(4, "little")

    def _change_descriptors(self) -> None:
        random = self._random
        for _ in range(random.choice((0, 1, 2, 3))):
            number = random.randrange(FIRST_FREE, GDT_ENTRIES)
            at = GDT + 8 * number
            if self._chance() < 0.3:
                at = LDT + 8 * random.randrange(LDT_ENTRIES)
            kind = self._chance()
            if kind < 0.3:
                target = random.choice((code_selector(random.randrange(4)), random.getrandbits(8)))
                access = 0x80 | random.choice((4, 12)) | random.randrange(4) << 5
                offset = gate_target(random.randrange(8)) & (0xFFFF_FFFF if access & 8 else 0xFFFF)
                entry = gate(offset, target, access << 8 | random.randrange(6))
            else:
                base = random.choice((0, 0, DATA, random.randrange(DATA, DATA_END)))
                limit = random.choice((0xFFFFF, 0xFFFFF, random.getrandbits(20)))
                access = random.getrandbits(8) | 0x10 | random.choice((0, 0x40, 0xC0)) << 8
                if kind < 0.9:
                    access |= 0x80
                entry = descriptor(base, limit, access)
            self._memory[at] = entry

    def _prepare_task(self) -> None:
        """The task of OTHER_TSS, which goes to one of the gates' targets."""
        random, chance = self._random, self._chance
        level = random.choice((0, 0, 1, 3))
        segments = [data_selector(level)] * 6
        segments[1] = code_selector(level)
        if chance() < 0.3:
            segments[random.randrange(6)] = self._selector()
        stack = random.randrange(DATA + 0x1000, DATA_END - 0x1000)
        general = [random.getrandbits(32) for _ in range(8)]
        general[ESP] = stack
        flags = random.getrandbits(12) & 0xED5 | 2 | random.choice((0, 0x3000))
        local = 0x50 if chance() < 0.9 else random.choice((0, 0xE8, 0x43))
        directory = random.choice((DIRECTORY, OTHER_DIRECTORY))
        state = directory, gate_target(random.randrange(8)), flags, *general, *segments, local
        self._memory[OTHER_TSS + 0x1C] = struct.pack("<18I", *state)

    def _entry(self, selector: int) -> bytes:
        """The descriptor that a selector names."""
        at = (LDT if selector & 4 else GDT) + (selector & 0xFFF8)
        return self._memory.get(at) or background("paged")[at : at + 8].tobytes()

    def _loadable(self) -> int:
        """A selector that DS may hold at this level, null included."""
        candidates = [0]
        for index in range(1, GDT_ENTRIES):
            access = loaded(self._entry(8 * index)).access
            code, second, present = access & 8, access & 2, access & 0x80
            readable = access & 0x10 and present and (not code or second)
            conforming = code and access & 4
            if readable and (conforming or access >> 5 & 3 >= self._level):
                candidates.append(8 * index | (self._level if self._chance() < 0.7 else 0))
        return self._random.choice(candidates)

    def _selector(self) -> int:
        """Any selector, the usual ones more often."""
        kind, random = self._chance(), self._random
        if kind < 0.4:
            return data_selector(self._level)
        if kind < 0.5:
            return data_selector(3)
        if kind < 0.55:
            return random.getrandbits(16)
        table = 4 if self._chance() < 0.2 else 0
        index = random.randrange(LDT_ENTRIES + 1 if table else GDT_ENTRIES + 1)
        level = self._level if self._chance() < 0.7 else random.getrandbits(2)
        return 8 * index | table | level

    # Operands

    def _target(self) -> int:
        if self._chance() < 0.02:
            return super()._target()
        where = self._random.randrange(DATA, DATA_END - 16)
        if self._chance() < 0.15:
            where = (where | 0xFFF) - self._random.randrange(8)
        if self._chance() < 0.4:
            where += self._random.choice(ALIASES)
        return where

    def _code_selector(self) -> bytes:
        kind = self._chance()
        if kind < 0.4:
            selector = code_selector(self._level)
        elif kind < 0.5:
            selector = _TASK
        elif kind < 0.85:
            selector = 8 * self._random.choice(_GATES) | self._random.choice((0, self._level))
        else:
            selector = self._selector()
        return selector.to_bytes(2, "little")

    # What some instructions need before them

    def _load_segment(self, form: Form) -> None:
        selector = self._selector()
        if form.mnemonic == "POP":
            self._plain(b"\x68" + self._word(selector))
            self._encode(form)
            return
        self._load_eax(selector)
        segment = self._random.choice((0, 2, 3, 4, 5))
        self._code.append(b"\x8e" + bytes((0xC0 | segment << 3,)))

    def _load_eax(self, value: int) -> None:
        self._code.append(b"\xb8" + value.to_bytes(4, "little"))
        self._clean.discard(EAX)

    def _move(self, form: Form) -> None:
        if form.opcode == b"\x8e":
            self._load_segment(form)
        elif form.opcode == b"\x0f\x22":
            self._move_control(form)
        else:
            self._encode(form)

    def _move_control(self, form: Form) -> None:
        """With a value that leaves paging and protection on, mostly."""
        random = self._random
        number = random.choice((0, 2, 3, 3, 4))
        value = random.getrandbits(32)
        if number == 0:
            value = self._registers[CR0_AT] ^ random.choice((0, WRITE_PROTECT, 2, 8, 0x20))
        elif number == 3:
            value = random.choice((DIRECTORY, OTHER_DIRECTORY)) | random.choice((0, 0, 8, 0x10))
        elif number == 4:
            value = self._registers[CR4_AT] ^ random.choice((0, PAGE_GLOBAL, 4, 8))
        self._load_eax(value)
        self._code.append(form.opcode + bytes((0xC0 | number << 3,)))

    def _load_far_pointer(self, form: Form) -> None:
        target, reg = self._target(), self._destination()
        after = target + (4 if self._wide else 2) & 0xFFFF_FFFF
        selector = self._selector().to_bytes(2, "little")
        self._code.append(OPERAND_SIZE + b"\xc7\x05" + after.to_bytes(4, "little") + selector)
        self._plain(form.opcode + self._absolute(reg, target))

    def _select(self, form: Form) -> None:
        """Of a selector in EAX."""
        selector = self._selector()
        if self._chance() < 0.7:
            selector = self._random.choice(_SYSTEM_SELECTORS.get(form.mnemonic, (selector,)))
        self._load_eax(selector)
        reg = self._destination() if form.group is None else form.group
        self._plain(form.opcode + bytes((0xC0 | reg << 3,)))

    def _adjust_level(self, form: Form) -> None:
        self._load_eax(self._random.getrandbits(16))
        self._code.append(form.opcode + bytes((0xC0 | int(self._chance() * 8) << 3,)))

    def _use_port(self, form: Form) -> None:
        """With a number that the permission map knows."""
        if not form.operands:
            self._code.append(b"\xba" + self._random.getrandbits(11).to_bytes(4, "little"))
            self._clean.discard(EDX)
        self._encode(form)

    def _return_far(self, form: Form) -> None:
        """To this level or an outer one, whose stack is this one's too."""
        level = self._level
        if self._chance() < 0.4:
            level = self._random.randrange(4)
            stack = data_selector(level) if self._chance() < 0.9 else self._selector()
            pointer = self._random.randrange(DATA + 0x1000, DATA_END - 0x1000) & ~3
            self._plain(b"\x68" + self._word(stack))
            self._plain(b"\x68" + self._word(pointer))
        selector = code_selector(level) if self._chance() < 0.9 else self._selector()
        if form.mnemonic == "IRET":
            self._push_flags()
        self._plain(b"\x68" + self._word(selector))
        self._with_code_address(b"\x68", ahead=1)
        self._encode(form)

    def _invalidate(self, form: Form) -> None:
        """After a change of the entry."""
        number = self._random.choice(_DATA_PAGES)
        table, alias = self._random.choice(((IDENTITY_TABLE, 0), (ALIAS_TABLE, ALIASES[0])))
        entry = self._random.choice(_DATA_PAGES) << 12 | self._page_flags()
        drawn, self._wide = self._wide, True
        self._plain(b"\xc7" + self._absolute(0, table + 4 * number) + self._word(entry))
        self._wide = drawn
        assert form.group is not None
        linear = alias + (number << 12) + self._random.randrange(0x1000)
        self._code.append(form.opcode + self._absolute(form.group, linear))


_PRELUDES: Final[Mapping[str, Prelude]] = {
    **PRELUDES,
    **dict.fromkeys(_SELECTED, PagedDraft._select),
    **dict.fromkeys(("IN", "OUT"), PagedDraft._use_port),
    "ARPL": PagedDraft._adjust_level,
    "INVLPG": PagedDraft._invalidate,
    **dict.fromkeys(("LES", "LDS", "LSS", "LFS", "LGS"), PagedDraft._load_far_pointer),
    **dict.fromkeys(("RETF", "IRET"), PagedDraft._return_far),
    "MOV": PagedDraft._move,
}
