"""How the fault tests run one instruction into its fault and see that nothing else changed."""

from __future__ import annotations

import numpy as np

import x86core as x86
from tests.support import DATA, GENERAL, SMALL, Event, delivered, pushed_flags, run

#: What the registers hold unless a case says otherwise: all different, so that any change shows.
REGISTERS = {
    "eax": 0x11223344,
    "ecx": 0x00000003,
    "edx": 0x55667788,
    "ebx": 0x99AABBCC,
    "ebp": 0x00000100,
    "esi": 0x00000200,
    "edi": 0x00000300,
}
ARITHMETIC = 0x8D5  # CF PF AF ZF SF OF


def small(segment: x86.Segment) -> None:
    """What loading the selector SMALL would do."""
    segment.selector, segment.base, segment.limit, segment.access = SMALL, DATA, 0xFFF, 0x4093


def expect_fault(vcpu: x86.VCPU, event: Event, **registers: int) -> None:
    """Run into `event` at CODE and compare everything with the state before."""
    for name, value in (REGISTERS | registers).items():
        setattr(vcpu, name, value)
    vcpu.eflags = 0x2 | ARITHMETIC
    before = {name: getattr(vcpu, name) for name in GENERAL}
    memory = vcpu.memory.view().copy()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == event
    assert pushed_flags(vcpu) & (0x2 | ARITHMETIC) == 0x2 | ARITHMETIC
    depth = 16 if event.error is not None else 12
    after = {name: getattr(vcpu, name) for name in GENERAL}
    assert after == before | {"esp": before["esp"] - depth}
    frame = slice(vcpu.ss.base + after["esp"], vcpu.ss.base + before["esp"])
    changed = np.flatnonzero(vcpu.memory.view() != memory)
    assert all(frame.start <= address < frame.stop for address in changed)
