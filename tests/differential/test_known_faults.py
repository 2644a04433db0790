"""Each known fault of Unicorn is still there, and is what accounts for the difference.

So is each result that the manual leaves open.

When Unicorn mends one, its test fails and the fault can go from the list.
"""

from __future__ import annotations

import pytest

from tests.differential.agreement import comparison
from tests.differential.case import Case, case
from tests.differential.known_faults import KNOWN_FAULTS, UNDEFINED_RESULTS

SINGLE_STEP = 0x102

EXAMPLES = {
    "LOCK is ignored where it may not stand": case("flat32", "f089c0"),
    "no segment limits": case("real", "a1ffff"),
    "the stack wraps in the middle of an operand": case("real", "58", esp=0xFFFF),
    "instructions are fetched from beyond the code segment": case("real", "40", "40", eip=0xFFFF),
    "a jump leaves the code segment": case("real", "66e900000100"),
    "null selectors and read-only segments are accessed": case("flat32", "2e890500000300"),
    "a frame that wraps around offset 0 is not looked at": case("real", "f7f1", esp=1),
    "RET and RETF take the bytes to release as signed": case("flat32", "c2a7c2", esp=0x4_0000),
    "8F, C6 and C7 ignore the reg field": case("real", "8f0e0010"),
    "F6 /1 and F7 /1 are invalid opcodes": case("real", "f6c801"),
    "LOCK NEG sets flags from a wrong result": case("real", "f0f71e0010"),
    "PAUSE loses its single-step trap": case("real", "f390", "90", eflags=SINGLE_STEP),
    "INT 6 is an invalid opcode": case("real", "cd06"),
    "INT1 is an invalid opcode": case("real", "f1"),
    "0F 18 with a register is an invalid opcode": case("real", "0f18c0"),
    "VEX prefixes are taken without AVX": case("flat32", "c5df89fe000000"),
    "ENTER writes as much of EBP as the stack is wide": case("flat32", "66c8020000"),
    "ENTER borrows from the upper half of ESP where SP wraps": case("real", "66c8000001", esp=0),
    "the second part of an operand lies beyond the reach of 16-bit addresses": case(
        "real", "66c45cfc"
    ),
    "SMSW leaves the upper half of a register undefined": case("flat32", "0f01e1", ecx=0x12345678),
}


def test_every_fault_has_an_example() -> None:
    assert set(EXAMPLES) == {fault.name for fault in (*KNOWN_FAULTS, *UNDEFINED_RESULTS)}


@pytest.mark.parametrize(("name", "subject"), EXAMPLES.items())
def test_fault(name: str, subject: Case) -> None:
    verdict = comparison(subject.mode).compare(subject)
    assert verdict.difference is None
    assert name in verdict.reasons
