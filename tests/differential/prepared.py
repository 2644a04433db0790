"""Instructions of every form with every prefix, in a state in which most work.

What an instruction needs first (a count, a divisor that fits, a return address) is mostly put
before it; draft.py does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.differential.catalogue import Form
from tests.differential.draft import BIT_TESTS, LOCK, OPERAND_SIZE, STRINGS, Draft, implied
from tests.differential.layout import CODE32, DATA32, EAX, EBP, EBX, EDX


class Prepared(Draft):
    """A draft that puts before an instruction what it needs."""

    @property
    def preludes(self) -> Mapping[str, Prelude]:
        """By mnemonic, what puts the instruction behind what it needs."""
        return PRELUDES

    def _prepared(self, form: Form) -> bool:
        prelude = self.preludes.get(form.mnemonic)
        if not prelude or self._chance() >= (0.98 if form.string else 0.85):
            return False
        prelude(self, form)
        return True

    def _string(self, form: Form) -> None:
        drawn, self._wide = self._wide, True
        pointer = int(self._chance() * 0xF000) if self._mode == "real" else self._target()
        # Long ones are done by other means than short ones.
        most = 400 if self._chance() < 0.1 else 10
        self._plain(b"\xb9" + self._word(int(self._chance() * most)))
        for opcode in (b"\xbe", b"\xbf"):
            if self._chance() < 0.7:
                near = pointer + int(self._chance() * 64)
                self._plain(
                    opcode + self._word(near if self._chance() < 0.3 else self._target() & ~0xFFF)
                )
        self._wide = drawn
        self._encode(form)

    def _divide(self, form: Form) -> None:
        kind = self._chance()
        if form.operands[0][1] == "b":
            self._code.append(b"\xb4" + self._random.choice((b"\0", b"\xff", b"\x01")))
        elif kind < 0.5:
            self._plain(b"\x99")
        else:
            self._plain(b"\xba" + self._word(int(self._chance() * 4)))
        self._clean.discard(EAX)
        self._clean.discard(EDX)
        self._encode(form)

    def _return_near(self, form: Form) -> None:
        self._with_code_address(b"\x68", ahead=1)
        self._encode(form)

    def _return_far(self, form: Form) -> None:
        self._plain(b"\x0e")
        self._with_code_address(b"\x68", ahead=1)
        self._encode(form)

    def _return_from_interrupt(self, form: Form) -> None:
        self._push_flags()
        self._return_far(form)

    def _push_flags(self) -> None:
        flags = self._random.getrandbits(12) & 0x0FD5 | 2
        if self._chance() < 0.9:
            flags &= ~0x100
        if self._chance() < 0.1:
            flags |= self._random.getrandbits(4) << 12
        if self._wide and self._chance() < 0.1:
            flags |= self._random.getrandbits(1) << 21 | self._random.getrandbits(1) << 18
        self._plain(b"\x68" + self._word(flags))

    def _pop_flags(self, form: Form) -> None:
        self._push_flags()
        self._encode(form)

    def _load_segment(self, form: Form) -> None:
        if self._mode == "real":
            self._encode(form)
            return
        selector = (DATA32 if self._chance() < 0.9 else self._random.choice((0, CODE32, 0x18))) | (
            3 if self._chance() < 0.02 else 0
        )
        if form.mnemonic == "POP":
            self._plain(b"\x68" + self._word(selector))
            self._encode(form)
            return
        self._code.append(OPERAND_SIZE + b"\xb8" + selector.to_bytes(2, "little"))
        self._clean.discard(EAX)
        segment = self._random.choice((0, 2, 3, 4, 5))
        self._code.append(b"\x8e" + bytes((0xC0 | segment << 3,)))

    def _move_segment(self, form: Form) -> None:
        if form.opcode == b"\x8e":
            self._load_segment(form)
        else:
            self._encode(form)

    def _pop(self, form: Form) -> None:
        if form.operands:
            self._encode(form)
        else:
            self._load_segment(form)

    def _load_far_pointer(self, form: Form) -> None:
        """With a selector that can be loaded, where the mode looks at it."""
        if self._mode == "real":
            self._encode(form)
            return
        target, reg = self._target(), self._destination()
        selector = DATA32.to_bytes(2, "little")
        after = target + (4 if self._wide else 2)
        self._code.append(OPERAND_SIZE + b"\xc7\x05" + after.to_bytes(4, "little") + selector)
        self._plain(form.opcode + self._absolute(reg, target))

    def _bound(self, form: Form) -> None:
        """With bounds, and an index that lies between them more often than not."""
        target, index = self._target(), int(self._chance() * 5)
        reg = self._destination()
        self._plain(bytes((0xB8 | reg,)) + self._word(index - 1))
        for distance, bound in enumerate((-1, 3)):
            place = target + distance * (4 if self._wide else 2)
            self._plain(b"\xc7" + self._absolute(0, place) + self._word(bound))
        self._plain(form.opcode + self._absolute(reg, target))

    def _bit_string(self, form: Form) -> None:
        """With a bit offset in a register that stays within RAM."""
        if form.group is not None:
            self._encode(form)
            return
        reg = self._destination()
        self._plain(bytes((0xB8 | reg,)) + self._word(self._random.randrange(-0x4000, 0x4000)))
        self._encode(form, reg)

    def _compare_pair(self, form: Form) -> None:
        """With EDX:EAX equal to the operand, now and then but for a bit."""
        target = self._target()
        drawn, self._wide = self._wide, True
        for reg, place in ((EAX, target), (EDX, target + 4)):
            self._plain(b"\x8b" + self._absolute(reg, place))
        if self._chance() < 0.3:
            self._plain(bytes((0x40 | self._random.choice((EAX, EDX)),)))
        self._wide = drawn
        self._clean.difference_update(implied(form.mnemonic))
        assert form.group is not None
        lock = LOCK if self._chance() < 0.5 else b""
        self._code.append(lock + form.opcode + self._absolute(form.group, target))

    def _frame(self, form: Form) -> None:
        """With EBP in the stack."""
        drawn, self._wide = self._wide, True
        self._plain(b"\x89\xe5")
        self._wide = drawn
        self._clean.discard(EBP)
        self._encode(form)

    def _translate(self, form: Form) -> None:
        drawn, self._wide = self._wide, True
        self._plain(bytes((0xB8 | EBX,)) + self._word(self._target()))
        self._wide = drawn
        self._clean.discard(EBX)
        self._encode(form)

    def _absolute(self, reg: int, address: int) -> bytes:
        """ModRM and displacement of an address without registers, in the mode's address size."""
        if self._mode != "real":
            return bytes((reg << 3 | 5,)) + address.to_bytes(4, "little")
        return bytes((reg << 3 | 6,)) + (address & 0xFFFF).to_bytes(2, "little")

    def _indirect(self, form: Form) -> None:
        """Store the target where the operand finds it: in a register or at an absolute address."""
        if not form.has_modrm:
            self._encode(form)
            return
        assert form.group is not None
        far = form.operands[0][0] == "M"
        if not far and self._chance() < 0.5:
            register = self._destination()
            self._with_code_address(bytes((0xB8 | register,)), ahead=1)
            self._plain(form.opcode + bytes((0xC0 | form.group << 3 | register,)))
            return
        target = self._target()
        self._with_code_address(b"\xc7" + self._absolute(0, target), ahead=2 if far else 1)
        if far:
            after = target + (4 if self._wide else 2)
            selector = int.from_bytes(self._code_selector(), "little")
            self._plain(b"\xc7" + self._absolute(0, after) + self._word(selector))
        self._plain(form.opcode + self._absolute(form.group, target))


Prelude = Callable[[Any, Form], None]

PRELUDES: Final[Mapping[str, Prelude]] = {
    **dict.fromkeys(STRINGS, Prepared._string),
    **dict.fromkeys(("DIV", "IDIV"), Prepared._divide),
    **dict.fromkeys(("CALL", "JMP"), Prepared._indirect),
    **dict.fromkeys(("LES", "LDS", "LSS", "LFS", "LGS"), Prepared._load_far_pointer),
    **dict.fromkeys(BIT_TESTS, Prepared._bit_string),
    **dict.fromkeys(("ENTER", "LEAVE"), Prepared._frame),
    "BOUND": Prepared._bound,
    "CMPXCHG8B": Prepared._compare_pair,
    "XLAT": Prepared._translate,
    "RET": Prepared._return_near,
    "RETF": Prepared._return_far,
    "IRET": Prepared._return_from_interrupt,
    "POPF": Prepared._pop_flags,
    "MOV": Prepared._move_segment,
    "POP": Prepared._pop,
}
