"""Each known fault of Unicorn is still there, and is what accounts for the difference.

So is each result that the manual leaves open.

When Unicorn mends one, its test fails and the fault can go from the list.
"""

from __future__ import annotations

import pytest

from tests.differential.agreement import comparison
from tests.differential.case import Case, case, level3
from tests.differential.known_faults import KNOWN_FAULTS, UNDEFINED_RESULTS
from tests.differential.paged_faults import PAGED_FAULTS, PAGED_RESULTS

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
    "LTR takes a null selector": case("flat32", "0f00dd"),
    "SMSW leaves the upper half of a register undefined": case("flat32", "0f01e1", ecx=0x12345678),
}


#: With page 0x90 away.
ABSENT = {0xD1240: "00000000"}

PAGED_EXAMPLES = {
    "no segment limits, types or null selectors": case("paged", "a100100000", ds_limit=0xFFF),
    "no limit of the stack segment": level3("50", ss_limit=0xFFF),
    "code is fetched from beyond its segment": case("paged", "b801000000", cs_limit=0x2_1003),
    "a jump may lead beyond its segment": case("paged", "eb10", cs_limit=0x2_1005),
    "no I/O permission": level3(
        "e4e8",
    ),
    "bytes to release are signed": case(
        "paged", "c20080", memory={0x40000: "03100200"}, esp=0x4_0000
    ),
    "CR0 keeps reserved bits": case("paged", "0f22c0", eax=0x8001_0055),
    "the page behind the code is fetched before it is reached": case(
        "paged", "40", "b801000000", "b801000000", memory={0xD1088: "00000000"}, eip=0x2_1FF8
    ),
    "far calls and returns use the stack with a supervisor's rights": level3(
        "9a071002003b00", esp=0xC3_5C0C
    ),
    "LTR takes a null selector": case("paged", "0f00d8"),
    "CR4 takes reserved bits": case("paged", "0f22e0", eax=0x890),
    "CR0 takes what does not go together": case("paged", "0f22c0", eax=0xA001_0015),
    "segments are not marked as accessed by far transfers and task switches": case(
        "paged", "ea071002005800", memory={0xE1058: "ffff0000009acf00"}
    ),
    "a fault in the new task returns to the old one's address": case(
        "paged", "ea00000000f000", memory={0xE281C: "00000d00", 0xE284C: "19000000"}
    ),
    "a task may not begin in conforming code of an inner level": case(
        "paged", "ea00000000f000", memory={0xE281C: "00000d00", 0xE284C: "45000000"}
    ),
    "a jump through a gate to code that is not present is a protection fault": level3(
        "ea00000000f000", memory={0xE10F0: "40807e0000ec0200"}
    ),
    "16-bit call gates have offsets of 32 bits": case(
        "paged", "9a000000005800", memory={0xE1058: "408008000084ffff"}
    ),
    "a call beyond the limit of its target pushes first, and names the segment": case(
        "paged", "9a7a1a0200e000", memory={0xE10E5: "9c00"}
    ),
    "a near call pushes before it looks at the limit": level3(
        "ffd6", memory=ABSENT, esp=0x9_0C68, esi=0x5_1665, cs_limit=0x2_FFFF
    ),
    "a call through a gate to conforming code changes the privilege level": level3(
        "9a00000000d000", memory={0xE10D0: "0080580000ec"}
    ),
    "a new stack segment that is not present raises #NP": case(
        "paged", "9a00000000f000", memory={0xE284C: "3b", 0xE2850: "8b"}
    ),
    "a null selector stays as it is in a return to an outer level": case(
        "paged",
        "cb",
        memory={0x4_0000: "001002003b0000000080050043000000"},
        esp=0x4_0000,
        fs=2,
        fs_limit=0,
        fs_access=0,
    ),
    "the parameters of a call gate are copied in any order": case(
        "paged",
        "9a00000000b800",
        memory=ABSENT | {0xD1244: "00000000"},
        esp=0x9_0FF8,
        cs=0x2A,
        cs_access=0xC0DB,
        ss=0x32,
        ss_access=0xC0D3,
    ),
    "flags change though the store faults": level3("c1904451460001", memory={0xD0004: "45200d00"}),
    "PUSHA begins with EDI": level3("60", memory=ABSENT, esp=0x9_1000),
    "ARPL stores what it leaves as it is": case("paged", "6318", eax=0x3_0000),
    "ENTER does not look at the final stack pointer": level3("c80000ff", esp=0xC4_CCCC),
    "the parameters of a call gate are copied to where they lie": level3(
        "669a751db800", esp=0x3_1FF0
    ),
    "a privileged instruction need not be fetched whole": level3(
        "0f22d0", memory={0xD1088: "63"}, eip=0x2_1FFE
    ),
    "large pages reach beyond 4 GiB": case("paged", "a100108000", memory={0xD0008: "e7200000"}),
    "PUSHFD stores RF": case("paged", "9c", eflags=0x1_0002),
    "global pages stay in the TLB when CR3 is loaded, or not": case(
        "paged", "50", "b800300d00", "0f22d8", "50", esp=0xC3_8650
    ),
    "SGDT and SIDT store one part though the other faults": case(
        "paged", "0f0103", memory=ABSENT, ebx=0x8_FFFE
    ),
    "a read and write faults as either": case("paged", "ff00", memory=ABSENT, eax=0x9_0000),
    "the strings that CMPS compares are read in either order": case(
        "paged", "a7", memory=ABSENT | {0xD1244: "00000000"}, esi=0x9_0000, edi=0x9_1000
    ),
    "an instruction that faults has marked other pages before, or not": case("paged", "f02a0c22"),
}


def test_every_fault_has_an_example() -> None:
    assert set(EXAMPLES) == {fault.name for fault in (*KNOWN_FAULTS, *UNDEFINED_RESULTS)}
    assert set(PAGED_EXAMPLES) == {fault.name for fault in (*PAGED_FAULTS, *PAGED_RESULTS)}


@pytest.mark.parametrize(("name", "subject"), (EXAMPLES | PAGED_EXAMPLES).items())
def test_fault(name: str, subject: Case) -> None:
    verdict = comparison(subject.mode).compare(subject)
    assert verdict.difference is None
    assert name in verdict.reasons
