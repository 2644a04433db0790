"""A case while it is drawn: random state, and the encoding of any form with any prefix.

A purely random case stops at its first fault or leaves RAM. So memory operands are aimed at RAM
from registers that the case has not written yet, branches go forward to the next instructions, and
what an instruction needs first (a count, a divisor that fits, a return address) is mostly there.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.differential.case import Case, default_registers
from tests.differential.catalogue import Form
from tests.differential.disassembly import Mode
from tests.differential.layout import (
    CODE,
    CODE32,
    DATA,
    DATA_END,
    DS,
    EAX,
    EBP,
    ECX,
    EDI,
    EDX,
    EIP,
    ESI,
    ESP,
)

_SEGMENT_PREFIXES = b"\x26\x2e\x36\x3e\x64\x65"
OPERAND_SIZE, _ADDRESS_SIZE, LOCK, _REPNE, _REP = b"\x66", b"\x67", b"\xf0", b"\xf2", b"\xf3"

#: Arithmetic goes wrong at the ends of its ranges first.
_CORNERS = (
    *(0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF),
    *(0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF),
)

#: Forms that end most cases are drawn this often, others always.
_RARE: Final = {
    "HLT": 0.05,
    "INTO": 0.5,
    **dict.fromkeys(("INT", "INT1", "INT3", "UD1", "UD2", "ESC"), 0.1),
}

BIT_TESTS: Final = ("BT", "BTS", "BTR", "BTC")
STRINGS: Final = ("MOVS", "CMPS", "STOS", "LODS", "SCAS", "INS", "OUTS")


def implied(mnemonic: str) -> tuple[int, ...]:
    """Registers that an instruction writes without naming them in its encoding."""
    if mnemonic in ("MUL", "IMUL", "DIV", "IDIV", "CWD", "CMPXCHG8B"):
        return (EAX, EDX)
    if mnemonic in ("AAM", "AAD"):
        return (EAX,)
    if mnemonic in ("ENTER", "LEAVE"):
        return (EBP,)
    if mnemonic.startswith("LOOP"):
        return (ECX,)
    if mnemonic in STRINGS:
        return (EAX, ECX, ESI, EDI)
    return tuple(range(8)) if mnemonic == "POPA" else ()


@dataclass(slots=True)
class _Fixup:
    """A place in an instruction for the address of another one."""

    instruction: int
    offset: int
    size: int
    relative: bool
    target: int


class Draft:
    """A case while it is being drawn."""

    def __init__(self, mode: Mode, random: Random, forms: tuple[Form, ...]) -> None:
        self._mode = mode
        self._random = random
        self._chance = random.random
        self._forms = forms
        self._wide_mode = mode != "real"
        self._code: list[bytes] = []
        self._fixups: list[_Fixup] = []
        self._clean = {0, 1, 2, 3, 5, 6, 7}
        #: Written only now and then, so that later operands still find an address in them.
        self._anchors = set(random.sample((0, 1, 2, 3, 5, 6, 7), 2))
        self._registers = self._initial_registers()

    def finish(self) -> Case:
        for _ in range(self._random.randint(1, 14)):
            form = self._forms[int(self._chance() * len(self._forms))]
            if self._chance() < self._wanted(form):
                self._add(form)
        registers = tuple(self._registers)
        return Case(self._mode, self._resolved(), registers)

    def _wanted(self, form: Form) -> float:
        """How often a form is taken when it was drawn."""
        return _RARE.get(form.mnemonic, 1)

    # State

    def _initial_registers(self) -> list[int]:
        random, registers = self._random, list(default_registers(self._mode))
        for number in range(8):
            registers[number] = self._value()
        offset = 0x1000 + random.randrange(0x1000)
        if self._mode == "real":
            registers[EIP] = offset
            registers[ESP] = random.randrange(0x200, 0xFE00) & ~1
            if self._chance() < 0.1:
                registers[ESP] |= random.getrandbits(16) << 16
            if self._chance() < 0.05:
                registers[DS] = CODE >> 4
            for segment in (8, 10, 11, 12, 13):
                if self._chance() < 0.3:
                    registers[segment] = random.randrange(DATA >> 4, (DATA_END >> 4) - 0x1000)
        else:
            registers[EIP] = CODE + offset
            registers[ESP] = random.randrange(DATA + 0x1000, DATA_END - 0x1000) & ~3
            for number in self._anchors:
                registers[number] = random.randrange(DATA, DATA_END - 0x100)
        flags = random.getrandbits(12) & 0x0AD5 | 2
        if self._chance() < 0.2:
            flags |= 1 << 10
        if self._chance() < 0.05:
            flags |= random.getrandbits(3) << 12
        registers[15] = flags
        return registers

    def _value(self) -> int:
        kind = self._chance()
        if kind < 0.3:
            return _CORNERS[int(self._chance() * len(_CORNERS))]
        if kind < 0.6:
            return self._random.getrandbits(16)
        return self._random.getrandbits(32)

    # Instructions

    def _add(self, form: Form) -> None:
        self._wide = self._wide_mode ^ (self._chance() < 0.25)
        if not self._prepared(form):
            self._encode(form)

    def _prepared(self, form: Form) -> bool:
        """Whether the form was added with what it needs before it; a subclass knows how."""
        raise AssertionError(form)

    def _prefixes(self, form: Form) -> bytes:
        """Draws the prefixes, the operand size apart, and with them the address size."""
        chance = self._chance
        prefixes = []
        if self._wide != self._wide_mode:
            prefixes.append(OPERAND_SIZE)
        self._wide_address = self._wide_mode
        if chance() < 0.12:
            prefixes.append(_ADDRESS_SIZE)
            self._wide_address = not self._wide_mode
        if chance() < 0.12:
            prefixes.append(bytes((self._random.choice(_SEGMENT_PREFIXES),)))
        if chance() < (0.12 if form.lockable else 0.01):
            prefixes.append(LOCK)
        if chance() < (0.6 if form.string else 0.01):
            prefixes.append(_REP if chance() < 0.5 else _REPNE)
        if len(prefixes) > 1:
            self._random.shuffle(prefixes)
            if chance() < 0.05:
                prefixes.append(prefixes[0])
        return b"".join(prefixes)

    def _encode(self, form: Form, reg: int | None = None) -> None:
        """Append one instruction of the form; `reg` is the ModRM field if it is given."""
        code = bytearray(self._prefixes(form))
        code += form.opcode
        if form.variants > 1:
            variant = int(self._chance() * form.variants)
            if form.variants == 8:
                variant = self._destination()
            code[-1] += variant
        self._clean.difference_update(implied(form.mnemonic))
        if form.has_modrm:
            modrm = self._modrm(form, reg)
            if form.mnemonic in BIT_TESTS and modrm[0] >= 0xC0:
                # With LOCK, which is #UD, Unicorn aborts the whole process.
                code = code.replace(LOCK, b"")
            code += modrm
        elif not form.operands:
            self._clean.discard(EAX)
        for kind, size in form.operands:
            if kind == "I":
                code += self._immediate(self._size(size))
            elif kind == "O":
                code += self._moffs()
                self._clean.discard(EAX)
            elif kind == "J":
                self._fix(len(code), 1 if size == "b" else 4 if self._wide else 2, relative=True)
                code += bytes(self._fixups[-1].size)
            elif kind == "A":
                self._fix(len(code), 4 if self._wide else 2, relative=False)
                code += bytes(self._fixups[-1].size) + self._code_selector()
        self._code.append(bytes(code))

    def _size(self, size: str) -> int:
        return {"b": 1, "w": 2}.get(size, 4 if self._wide else 2)

    def _immediate(self, size: int) -> bytes:
        return (self._value() & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _destination(self) -> int:
        """A register that may be written; seldom ESP or one that addresses are made from."""
        number = int(self._chance() * 8)
        if (number in self._anchors or number == ESP) and self._chance() < 0.9:
            number = next(n for n in (0, 1, 2, 3) if n not in self._anchors)
        self._clean.discard(number)
        return number

    def _modrm(self, form: Form, reg: int | None = None) -> bytes:
        kinds = form.kinds
        if form.group is not None:
            reg = form.group
        elif reg is not None:
            pass
        elif "S" in kinds:
            reg = int(self._chance() * 6)
            if form.opcode == b"\x8e" and reg == 1 and self._chance() < 0.95:
                reg = 3
        elif "C" in kinds:
            reg = self._random.choice((0, 0, 2, 3, 4, 1))
        elif "D" in kinds:
            reg = int(self._chance() * 8)
        else:
            reg = self._destination()
        if "R" in kinds or ("M" not in kinds and self._chance() < 0.35):
            return bytes((0xC0 | reg << 3 | self._destination(),))
        if "M" in kinds and self._chance() < 0.02:
            return bytes((0xC0 | reg << 3 | int(self._chance() * 8),))
        return self._memory32(reg) if self._wide_address else self._memory16(reg)

    def _memory16(self, reg: int) -> bytes:
        mod, rm = int(self._chance() * 3), int(self._chance() * 8)
        if mod == 0 and rm == 6:
            return bytes((reg << 3 | rm,)) + self._target().to_bytes(4, "little")[:2]
        return bytes((mod << 6 | reg << 3 | rm,)) + self._random.randbytes(mod)

    def _memory32(self, reg: int) -> bytes:
        """A SIB or plain form that leads to the target from the registers as they began."""
        chance, target = self._chance, self._target()
        clean = sorted(self._clean)
        if not clean or chance() < 0.15:
            if chance() < 0.5:
                return bytes((reg << 3 | 5,)) + target.to_bytes(4, "little")
            return bytes((reg << 3 | 4, 0x25)) + target.to_bytes(4, "little")
        base = clean[int(chance() * len(clean))]
        mod, start = 2, self._registers[base]
        if base in self._anchors and chance() < 0.6:
            small = self._random.randrange(-0x80, 0x80)
            mod, target = (1, start + small) if chance() < 0.6 or base == 5 else (0, start)
        if chance() < 0.5:
            sib = b""
            rm = base
        else:
            index = clean[int(chance() * len(clean))] if mod == 2 else 4
            scale = int(chance() * 4)
            if index != 4:
                start += self._registers[index] << scale
            sib = bytes((scale << 6 | index << 3 | base,))
            rm = 4
        displacement = target - start & 0xFFFF_FFFF
        size = (0, 1, 4)[mod]
        return bytes((mod << 6 | reg << 3 | rm,)) + sib + displacement.to_bytes(4, "little")[:size]

    def _target(self) -> int:
        """An offset to access; now and then the case's own code, to be modified as it runs."""
        if self._chance() < 0.02:
            return self._registers[EIP] + int(self._chance() * 60)
        if self._mode == "real":
            return int(self._chance() * 0xFFF0)
        return DATA + int(self._chance() * (DATA_END - DATA - 16))

    def _moffs(self) -> bytes:
        if not self._wide_address:
            return self._random.randbytes(2)
        return self._target().to_bytes(4, "little")

    # Code addresses

    def _fix(self, offset: int, size: int, *, relative: bool, ahead: int = 0) -> None:
        """Leave room at `offset` of the next instruction for the address of one near it."""
        position = len(self._code)
        target = position + 1 + ahead + int(self._chance() * 3)
        if relative and self._chance() < 0.05:
            target = int(self._chance() * (position + 1))
        self._fixups.append(_Fixup(position, offset, size, relative, target))

    def _code_selector(self) -> bytes:
        return (CODE >> 4 if self._mode == "real" else CODE32).to_bytes(2, "little")

    def _resolved(self) -> tuple[bytes, ...]:
        code = [bytearray(instruction) for instruction in self._code]
        starts, at = [], self._registers[EIP]
        for instruction in code:
            starts.append(at)
            at += len(instruction)
        starts.append(at)
        for fixup in self._fixups:
            instruction = code[fixup.instruction]
            value = starts[min(fixup.target, len(code))]
            if fixup.relative:
                value -= starts[fixup.instruction] + len(instruction)
            value &= (1 << 8 * fixup.size) - 1
            where = slice(fixup.offset, fixup.offset + fixup.size)
            instruction[where] = value.to_bytes(fixup.size, "little")
        return tuple(bytes(instruction) for instruction in code)

    # What some instructions need before them. The operand size is that of the instruction itself.

    def _plain(self, code: bytes) -> None:
        """Append an instruction of the drawn operand size."""
        prefix = OPERAND_SIZE if self._wide != self._wide_mode else b""
        self._code.append(prefix + code)

    def _word(self, value: int) -> bytes:
        size = 4 if self._wide else 2
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _with_code_address(self, code: bytes, *, ahead: int) -> None:
        """Append an instruction that ends in the address of one at least `ahead` later."""
        prefix = OPERAND_SIZE if self._wide != self._wide_mode else b""
        size = 4 if self._wide else 2
        self._fix(len(prefix + code), size, relative=False, ahead=ahead)
        self._code.append(prefix + code + bytes(size))
