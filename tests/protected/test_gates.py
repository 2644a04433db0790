"""Call gates, returns to outer levels, conforming code (SDM vol. 3, 5.8)."""

from __future__ import annotations

import pytest

from tests.protected.support import (
    CALL_GATE,
    CODE1,
    CODE3,
    CODE16,
    CONFORMING,
    DATA3,
    INNER_STACK,
    TS,
    call_gate,
    event,
    frame,
    protected,
    set_descriptor,
)
from tests.support import (
    CODE,
    CODE32,
    DATA32,
    GP,
    HANDLERS,
    NP,
    SS,
    TSS,
    Event,
    descriptor,
    run,
    stack_top,
)

CALL = f".byte 0x9a; .long 0xdead; .word {CALL_GATE}"
JUMP = f".byte 0xea; .long 0xdead; .word {CALL_GATE}"
BEHIND = CODE + 7
#: A HLT that is no event's handler.
TARGET = HANDLERS + 0x77


def test_call_to_an_inner_level_copies_parameters() -> None:
    vcpu = protected(f"push 0x11; push 0x22; {CALL}", cpl=3)
    set_descriptor(vcpu, CALL_GATE, call_gate(CODE32, TARGET, count=2))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.cpl, vcpu.cs.selector, vcpu.ss.selector) == (0, CODE32, DATA32)
    assert vcpu.esp == INNER_STACK - 24
    assert frame(vcpu, 6) == [CODE + 11, CODE3, 0x22, 0x11, stack_top() - 8, DATA3]


def test_call_through_a_16_bit_gate() -> None:
    vcpu = protected(f"push 0x11; {CALL}", cpl=3)
    set_descriptor(vcpu, CALL_GATE, call_gate(CODE32, 0xFFFF0000 | TARGET, count=1, kind=0xE4))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == TARGET + 1, "16 bits of offset"
    assert frame(vcpu, 5, 2) == [(CODE + 9) & 0xFFFF, CODE3, 0x11, stack_top() - 4, DATA3]


def test_call_at_the_same_level_stays_on_the_stack() -> None:
    vcpu = protected(CALL, cpl=0)
    set_descriptor(vcpu, CALL_GATE, call_gate(CODE32, TARGET, count=3))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.esp == stack_top() - 8
    assert frame(vcpu, 2) == [BEHIND, CODE32]


@pytest.mark.parametrize("transfer", [CALL, JUMP])
@pytest.mark.parametrize(
    ("gate", "vector", "error"),
    [
        (call_gate(CODE32, TARGET, kind=0x8C), GP, CALL_GATE),  # DPL 0
        (call_gate(CODE32, TARGET, kind=0x6C), NP, CALL_GATE),
        (call_gate(0, TARGET), GP, 0),
        (call_gate(DATA32, TARGET), GP, DATA32),
        (call_gate(0x1000, TARGET), GP, 0x1000),
    ],
)
def test_bad_gates(transfer: str, gate: bytes, vector: int, error: int) -> None:
    vcpu = protected(transfer, cpl=3)
    set_descriptor(vcpu, CALL_GATE, gate)
    assert event(vcpu) == Event(vector, CODE, error, cs=CODE3)


def test_jmp_does_not_change_the_level() -> None:
    vcpu = protected(JUMP, cpl=3)
    set_descriptor(vcpu, CALL_GATE, call_gate(CODE32, TARGET))
    assert event(vcpu) == Event(GP, CODE, CODE32 & ~3, cs=CODE3)


@pytest.mark.parametrize(
    ("ss0", "esp0", "vector", "error"),
    [
        (0, 0x8400, TS, 0),
        (DATA3, 0x8400, TS, DATA3 & ~3),
        (0x1000, 0x8400, TS, 0x1000),
        (0x20, 0x8400, SS, 0x20),  # not present
        (0x18, 0x1004, SS, 0x18),  # no room in its limit for the frame
    ],
)
def test_a_bad_inner_stack(ss0: int, esp0: int, vector: int, error: int) -> None:
    """The handler runs at level 1, whose stack is a good one."""
    vcpu = protected(CALL, cpl=3)
    set_descriptor(vcpu, CALL_GATE, call_gate(CODE32, TARGET))
    vcpu.memory.write(TSS + 4, esp0.to_bytes(4, "little") + ss0.to_bytes(4, "little"))
    vcpu.memory.write(TSS + 12, (0x8300).to_bytes(4, "little") + (0x79).to_bytes(4, "little"))
    handler = (0x5000).to_bytes(2, "little") + CODE1.to_bytes(2, "little") + b"\0\x8e\0\0"
    vcpu.memory.write(0x2000 + vector * 8, handler)
    vcpu.memory.write(0x5000, b"\xe6\x80")
    vcpu.eflags = 0x1002
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.cpl == 1
    assert frame(vcpu, 3)[:3] == [error, CODE, CODE3]


@pytest.mark.parametrize("release", [0, 8])
def test_retf_to_an_outer_level(release: int) -> None:
    """It drops the parameters of both stacks, and data segments of the inner level."""
    vcpu = protected(
        f"push {DATA3}; push 0x9000; sub esp, {release}; push {CODE3}; push 0x5000; retf {release}"
    )
    vcpu.memory.write(0x5000, b"\xcd\x40")
    vcpu.memory.write(0x2000 + 0x40 * 8, b"\x40\x30\x08\0\0\xee\0\0")
    vcpu.fs.selector, vcpu.fs.access = DATA3, 0xC0F3
    assert run(vcpu) == "EXIT_HLT"
    eip, cs, _, esp, ss = frame(vcpu, 5)
    assert (eip, cs, esp, ss) == (0x5002, CODE3, 0x9000 + release, DATA3)
    assert (vcpu.ds.selector, vcpu.es.selector, vcpu.gs.selector) == (0, 0, 0)
    assert vcpu.fs.selector == DATA3


def test_retf_to_an_inner_level() -> None:
    vcpu = protected(f"push {CODE32}; push 0x5000; retf", cpl=3)
    assert event(vcpu) == Event(GP, CODE + 7, CODE32, cs=CODE3)


@pytest.mark.parametrize(("ss", "error"), [(DATA32, DATA32), (0, 0), (CODE3, CODE3 & ~3)])
def test_a_return_to_a_bad_stack(ss: int, error: int) -> None:
    vcpu = protected(f"push eax; push 0x9000; push {CODE3}; push 0x5000; retf", eax=ss)
    before = vcpu.esp
    assert run(vcpu) == "EXIT_HLT"
    assert frame(vcpu, 1) == [error]
    assert (vcpu.cpl, vcpu.esp) == (0, before - 16 - 16)


def test_conforming_code_runs_at_the_callers_level() -> None:
    vcpu = protected(f".byte 0x9a; .long 0x5000; .word {CONFORMING}", cpl=3)
    vcpu.memory.write(0x5000, b"\xf4")
    assert event(vcpu) == Event(GP, 0x5000, 0, cs=CONFORMING | 3)


def test_a_16_bit_segment() -> None:
    """Its code is decoded with 16-bit operands, and a 16-bit frame leads back."""
    vcpu = protected(f".byte 0x66, 0x9a; .word 0x5000, {CODE16}; hlt", eax=0xFFFFFFFF)
    vcpu.memory.write(0x5000, b"\xb8\x34\x12\xea\x00\x51" + CODE32.to_bytes(2, "little"))
    vcpu.memory.write(0x5100, b"\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.cs.selector, vcpu.eip) == (0xFFFF1234, CODE32, 0x5101)


def test_the_accessed_bit_of_code() -> None:
    vcpu = protected(f".byte 0xea; .long 0x5000; .word {CALL_GATE}")
    set_descriptor(vcpu, CALL_GATE, descriptor(0, 0xFFFFF, 0xC09A))
    vcpu.memory.write(0x5000, b"\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cs.access == 0xC09B
    assert vcpu.memory.read(0x1000 + CALL_GATE + 5, 1) == b"\x9b"
