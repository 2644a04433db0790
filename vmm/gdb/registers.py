"""The registers that gdb sees, and the target description that tells it of them.

Sources: the GDB manual, appendix "Target Descriptions", i386 Features; gdb's
features/i386/32bit-core.xml for the order of the registers. The x87 registers must be there, and
are unavailable: there is no coprocessor.

`eip` is the linear address of the next instruction, CS base included: gdb looks for code and
breakpoints there, and knows no segments. In flat protected mode that is EIP; `ip` is the offset in
CS in every mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from vmm.exits import is_32_bit
from x86core import VCPU

_CR0_PE = 1


@dataclass(frozen=True, slots=True)
class Register:
    """One register: `path` is its attribute of VCPU, "" when it is not there."""

    name: str
    path: str
    bits: int = 32
    type: str = "int32"
    group: str = "general"

    @property
    def digits(self) -> int:
        """Hexadecimal digits of its value in packets."""
        return self.bits // 4

    def read(self, vcpu: VCPU) -> str:
        """Its value as packets have it: hexadecimal, little-endian; x for unavailable."""
        if not self.path:
            return "x" * self.digits
        value: int = attrgetter(self.path)(vcpu)
        if self.name == "eip":
            value = linear_pc(vcpu)
        return value.to_bytes(self.bits // 8, "little").hex()

    def write(self, vcpu: VCPU, value: int) -> None:
        """Set it. Raises ValueError when it cannot be, or when the value does not fit."""
        if not self.path:
            raise ValueError(f"{self.name} is not there")
        if self.name == "eip":
            value = value - vcpu.cs.base & 0xFFFF_FFFF
        owner, _, attribute = self.path.rpartition(".")
        target: Any = getattr(vcpu, owner) if owner else vcpu
        try:
            setattr(target, attribute, value)
        except AttributeError:
            raise ValueError(f"{self.name} cannot be written") from None
        if attribute == "selector" and not vcpu.cr0 & _CR0_PE:
            target.base = value << 4


SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")

_CORE = (
    *[Register(name, name) for name in ("eax", "ecx", "edx", "ebx")],
    *[Register(name, name, type="data_ptr") for name in ("esp", "ebp")],
    *[Register(name, name) for name in ("esi", "edi")],
    Register("eip", "eip", type="code_ptr"),
    Register("eflags", "eflags", type="i386_eflags"),
    *[Register(name, f"{name}.selector") for name in SEGMENTS],
    *[Register(f"st{number}", "", 80, "i387_ext", "float") for number in range(8)],
    *[
        Register(name, "", 32, "int", "float")
        for name in ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
    ],
)

_SYSTEM = (
    Register("ip", "eip"),
    *[Register(name, name) for name in ("cr0", "cr2", "cr3", "cr4")],
    *[
        Register(f"{name}_{part}", f"{name}.{part}")
        for name in SEGMENTS
        for part in ("base", "limit", "access")
    ],
    *[Register(name, name) for name in ("gdt_base", "gdt_limit", "idt_base", "idt_limit")],
)

#: By number.
REGISTERS = _CORE + _SYSTEM

#: Reported with every stop, since gdb asks for them at once.
EXPEDITED = [n for n, register in enumerate(_CORE) if register.name in ("esp", "ebp", "eip")]

_FLAGS = "CF - PF - AF - ZF SF TF IF DF OF - - NT - RF VM AC VIF VIP ID"


def linear_pc(vcpu: VCPU) -> int:
    """Where the next instruction is: CS base + EIP."""
    return vcpu.cs.base + vcpu.eip & 0xFFFF_FFFF


def read_all(vcpu: VCPU) -> str:
    """All registers, as the answer to `g` has them."""
    return "".join(register.read(vcpu) for register in REGISTERS)


def write_all(vcpu: VCPU, values: str) -> None:
    """Set the registers that differ from what is given, in the form of `g`.

    Raises ValueError, possibly with some of them set, when one cannot be or has no value.
    """
    changed = []
    for register, value in zip(REGISTERS, _split(values), strict=True):
        if value != register.read(vcpu):
            changed.append((register, value))
    # A selector moves the base of its segment, and the base of CS moves what eip means.
    changed.sort(key=lambda change: (change[0].name == "eip", change[0].path.endswith(".base")))
    for register, value in changed:
        register.write(vcpu, little_endian(value))


def little_endian(digits: str) -> int:
    """A value as packets have it. Raises ValueError."""
    return int.from_bytes(bytes.fromhex(digits), "little")


def target_description(vcpu: VCPU) -> str:
    """The XML for gdb. The architecture i8086, for 16-bit code, can be made i386 in gdb."""
    architecture = "i386" if is_32_bit(vcpu) else "i8086"
    return "\n".join(
        [
            '<?xml version="1.0"?>',
            '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
            '<target version="1.0">',
            f"<architecture>{architecture}</architecture>",
            "<osabi>none</osabi>",
            '<feature name="org.gnu.gdb.i386.core">',
            '<flags id="i386_eflags" size="4">',
            *[
                f'<field name="{name}" start="{bit}" end="{bit}"/>'
                for bit, name in enumerate(_FLAGS.split())
                if name != "-"
            ],
            "</flags>",
            *_described(0, _CORE),
            "</feature>",
            '<feature name="org.x86core.system">',
            *_described(len(_CORE), _SYSTEM),
            "</feature>",
            "</target>",
        ]
    )


def _described(first: int, registers: tuple[Register, ...]) -> Iterator[str]:
    for number, register in enumerate(registers, first):
        yield (
            f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.type}"'
            f' regnum="{number}" group="{register.group}"/>'
        )


def _split(values: str) -> Iterator[str]:
    at = 0
    for register in REGISTERS:
        value = values[at : at + register.digits].lower()
        if len(value) != register.digits:
            raise ValueError(f"no value for {register.name}")
        at += register.digits
        yield value
