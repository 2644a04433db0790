"""No instruction is longer than 15 bytes, prefixes and all (SDM vol. 3, 6.15, #GP)."""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import CODE, DATA, GP, UD, Event, delivered, flat32, real16, run

LONGEST = 15

#: Instructions without prefixes, and what a HLT follows.
CODES = {
    "nop": b"\x90",
    "inc eax": b"\x40",
    "movzx": b"\x0f\xb7\xc1",
    "test [edi], imm32": b"\xf7\x07\x01\x02\x03\x04",
    "cmp [base+index*4+disp32], imm32": b"\x81\xbc\xbd" + bytes(4) + b"\x01\0\0\0",
    "lodsb": b"\xac",
}


#: An operand or address size prefix would shorten the long ones.
PADDED = [
    (kind, prefix)
    for kind, code in CODES.items()
    for prefix in (b"\x66", b"\x67", b"\x2e", b"\x36", b"\x64", b"\xf2", b"\xf3")
    if len(code) <= 3 or prefix not in b"\x66\x67"
]


@pytest.mark.parametrize(("kind", "prefix"), PADDED)
def test_the_longest_and_one_byte_more(kind: str, prefix: bytes) -> None:
    code = CODES[kind]
    fill = LONGEST - len(code)
    for prefixes, fits in ((fill, True), (fill + 1, False), (fill + 20, False)):
        vcpu = flat32("nop")
        vcpu.memory.write(CODE, prefix * prefixes + code + b"\xf4")
        vcpu.ecx, vcpu.edi, vcpu.esi, vcpu.ebp = 1, DATA, DATA, 0
        assert run(vcpu) == "EXIT_HLT"
        if fits:
            assert vcpu.eip == CODE + LONGEST + 1
        else:
            assert delivered(vcpu) == Event(GP, CODE, 0)


def test_different_prefixes_count_alike() -> None:
    prefixes = b"\x66\x67\x2e\x36\x3e\x26\x64\x65\xf2\xf3\x66\x67\x2e\x36"
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, prefixes + b"\x90\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + LONGEST + 1
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, b"\x3e" + prefixes + b"\x90\xf4")
    expect_fault(vcpu, Event(GP, CODE, 0))


def test_prefixes_without_end() -> None:
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, b"\x66" * 4096)
    expect_fault(vcpu, Event(GP, CODE, 0))


def test_a_lock_that_may_not_stand_before_what_is_too_long() -> None:
    """The length is found while bytes are fetched, before the opcode is known to be bad."""
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, b"\xf0" * 15 + b"\x90")
    expect_fault(vcpu, Event(GP, CODE, 0))
    vcpu = flat32("nop")
    vcpu.memory.write(CODE, b"\xf0" * 14 + b"\x90")
    expect_fault(vcpu, Event(UD, CODE))


def test_across_two_pages() -> None:
    for prefixes, fits in ((14, True), (15, False)):
        start = CODE + 0x1000 - 7
        vcpu = flat32("nop")
        vcpu.memory.write(start, b"\x66" * prefixes + b"\x90\xf4")
        vcpu.eip = start
        assert run(vcpu) == "EXIT_HLT"
        if fits:
            assert vcpu.eip == start + LONGEST + 1
        else:
            assert delivered(vcpu) == Event(GP, start, 0)


def test_in_real_mode() -> None:
    vcpu = real16("nop")
    vcpu.memory.write(CODE, b"\x2e" * 15 + b"\x90")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 0, cs=CODE >> 4)
