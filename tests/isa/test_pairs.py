"""Instructions that are decoded as one leave what they leave one by one."""

from __future__ import annotations

import functools
import itertools
import random
import struct

import pytest

import x86core as x86
from tests.support import DATA, GENERAL, RAM, flat32
from vmm.asm import assemble
from x86core.instances import FIRSTS, SECONDS, STORES

SLOTS = 0x40000
SLOT = 32

#: An instruction of each kind, with a destination and a source.
SPELLING = {
    ("inc", "r", ""): "inc {to}",
    ("dec", "r", ""): "dec {to}",
    ("not_", "r", ""): "not {to}",
    ("lea", "rm", "flat"): "lea {to}, [{by} + 0x1234]",
    ("lea", "rm", "flat_indexed"): "lea {to}, [{by} + {to} * 4 - 1]",
    ("mov", "rm", "flat"): f"mov {{to}}, [{DATA}]",
    ("mov", "rm", "flat_indexed"): f"mov {{to}}, [{DATA} + {{by}} * 8]",
    ("mov", "mr", "flat"): f"mov [{DATA} + 0x40], {{to}}",
    ("mov", "mr", "flat_indexed"): f"mov [{DATA} + {{by}} * 8], {{to}}",
    **{
        (handler, form, ""): f"{handler.rstrip('_')} {{to}}, {source}"
        for handler in ("add", "or_", "and_", "sub", "xor", "mov")
        for form, source in (("rr", "{by}"), ("ri", "0x80000001"))
    },
}

#: The registers of the first and of the second: all ways in which they may be the same.
REGISTERS = [
    ("eax", "ebx", to, by) for to, by in itertools.product(("eax", "ebx", "esi"), repeat=2)
] + [("eax", "eax", to, by) for to, by in itertools.product(("eax", "esi"), repeat=2)]

#: What memory holds: eight times each is an offset in it.
SMALL = range(0x1F0)

#: Behind the pair: its flags are read, or are not.
THIRD = ("nop", "cmp eax, 5")


def sequences() -> list[str]:
    """Every first before every second, in all registers, before both of what may follow."""
    return [
        f"{SPELLING[first].format(to=a, by=b)}; {SPELLING[second].format(to=c, by=d)}; {third}"
        for first in FIRSTS
        for second in (*SECONDS, *STORES)
        for a, b, c, d in REGISTERS
        for third in THIRD
    ]


@functools.cache
def slots() -> bytes:
    lines = "\n".join(f".balign {SLOT}\n{each}" for each in sequences())
    return assemble(f".intel_syntax noprefix\n.code32\n{lines}\n.balign {SLOT}", origin=SLOTS)


def outcome(vcpu: x86.VCPU) -> tuple[object, ...]:
    registers = [getattr(vcpu, name) for name in (*GENERAL, "eip", "eflags")]
    return (*registers, vcpu.memory.read(DATA, 0x1000))


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_is_its_two_instructions(seed: int) -> None:
    chosen = random.Random(seed)
    whole = flat32("hlt", memory=x86.Memory(2 * RAM))
    steps = flat32("hlt", memory=x86.Memory(2 * RAM))
    for vcpu in (whole, steps):
        vcpu.memory.write(SLOTS, slots())
    for number, text in enumerate(sequences()):
        data = struct.pack("<1024I", *chosen.choices(SMALL, k=1024))
        values = [chosen.choice((0, 1, chosen.randrange(0x1FF), 1 << 31)) for _ in "abcd"]
        eflags = chosen.getrandbits(12) & 0x8D5 | 2
        for vcpu in (whole, steps):
            vcpu.memory.write(DATA, data)
            vcpu.eip, vcpu.eflags = SLOTS + SLOT * number, eflags
            vcpu.eax, vcpu.ebx, vcpu.esi, vcpu.edi = values
        assert whole.run(max_instructions=3) == x86.EXIT_LIMIT, text
        for _ in range(3):
            assert steps.run(max_instructions=1) == x86.EXIT_LIMIT, text
        assert outcome(whole) == outcome(steps), (text, values, hex(eflags))
