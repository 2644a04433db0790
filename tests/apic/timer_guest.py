"""Guests whose APIC timer counts nanoseconds."""

from __future__ import annotations

import x86core as x86
from tests.apic.local_apic import BY_1, DIVIDE, LVT_TIMER, ONE_SHOT, enabled, write
from tests.support import CODE, gate, set_gate

VECTOR = 0x41
#: Counts about two seconds: no timer of these tests that is to be far away ends.
LONG = 1 << 31

#: Loops; in the handler ends the interrupt and leaves the core with the TSC in EDX:EAX.
NOTES = """
        sti
    again:
        inc eax
        jmp again
    .org 0x80
        mov edi, 0xFEE000B0
        mov [edi], eax
        rdtsc
        out 0x80, al
        iret
"""


def moments(vcpu: x86.VCPU, count: int) -> list[int]:
    """The TSC in the first interrupts that a guest running NOTES takes."""
    set_gate(vcpu.memory, VECTOR, gate(CODE + 0x80))
    result = []
    for _ in range(count):
        assert vcpu.run() == x86.EXIT_IO
        result.append(vcpu.edx << 32 | vcpu.eax)
    return result


def timer(mode: int = ONE_SHOT, source: str = "hlt") -> x86.VCPU:
    """A vCPU whose timer counts nanoseconds and interrupts with VECTOR."""
    vcpu = enabled(source)
    write(vcpu, DIVIDE, BY_1)
    write(vcpu, LVT_TIMER, mode | VECTOR)
    return vcpu
