"""The local APIC as its own processor sees it: a guest that stands still loads and stores for us.

Register offsets and bits as in SDM vol. 3, chapter 11 (10 in older editions), table 11-1.
"""

from __future__ import annotations

import x86core as x86
from tests.support import FLAG_IF, GENERAL, delivered, flat32, run

PAGE = 0xFEE00000

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR_LOW, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE = 0x320, 0x330, 0x340
LVT_LINT0, LVT_LINT1, LVT_ERROR = 0x350, 0x360, 0x370
INITIAL_COUNT, CURRENT_COUNT, DIVIDE = 0x380, 0x390, 0x3E0
LVT = (LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR)

MASKED = 1 << 16
ENABLED = 1 << 8  #: of SVR
ONE_SHOT, PERIODIC, TSC_DEADLINE = 0, 1 << 17, 2 << 17
#: Divide configuration 1011b: the timer counts nanoseconds.
BY_1 = 0xB

# The interrupt command register.
FIXED, LOWEST_PRIORITY, NMI_MODE, INIT, STARTUP = 0, 0x100, 0x400, 0x500, 0x600
LOGICAL, ASSERT, LEVEL = 1 << 11, 1 << 14, 1 << 15
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18

# Bits of the error status register.
SEND_ILLEGAL_VECTOR, RECEIVE_ILLEGAL_VECTOR, ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7

TSC, APIC_BASE, DEADLINE = 0x10, 0x1B, 0x6E0

#: Where the instructions that `execute` adds to a guest stand.
SCRATCH = 0x4000
_OUT = b"\xe6\x80"
_LOADS = {1: b"\x0f\xb6\x02", 2: b"\x0f\xb7\x02", 4: b"\x8b\x02"}  # (MOVZX or MOV) EAX, [EDX]


def execute(vcpu: x86.VCPU, code: bytes, **registers: int) -> int:
    """Have a guest in flat 32-bit mode execute an instruction, interrupts off; EDX:EAX behind it.

    Everything but what the instruction does beside its registers is as before.
    """
    before = {name: getattr(vcpu, name) for name in (*GENERAL, "eip", "eflags", "mp_state")}
    vcpu.memory.write(SCRATCH, code + _OUT)
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    vcpu.eflags &= ~FLAG_IF
    vcpu.eip = SCRATCH
    for name, value in registers.items():
        setattr(vcpu, name, value)
    reason = run(vcpu)
    assert (reason, vcpu.eip) == ("EXIT_IO", SCRATCH + len(code)), f"{code.hex()}: {reason}"
    result = vcpu.edx << 32 | vcpu.eax
    for name, value in before.items():
        setattr(vcpu, name, value)
    return result


def read(vcpu: x86.VCPU, offset: int, size: int = 4) -> int:
    """Load 1, 2 or 4 bytes from the APIC's page."""
    return execute(vcpu, _LOADS[size], edx=PAGE + offset, eax=0) & 0xFFFFFFFF


def write(vcpu: x86.VCPU, offset: int, value: int) -> None:
    """Store a doubleword to the APIC's page."""
    execute(vcpu, b"\x89\x02", edx=PAGE + offset, eax=value)


def rdmsr(vcpu: x86.VCPU, number: int) -> int:
    return execute(vcpu, b"\x0f\x32", ecx=number)


def wrmsr(vcpu: x86.VCPU, number: int, value: int) -> None:
    execute(vcpu, b"\x0f\x30", ecx=number, edx=value >> 32, eax=value & 0xFFFFFFFF)


def tsc(vcpu: x86.VCPU) -> int:
    """The time-stamp counter, nanoseconds."""
    return execute(vcpu, b"\x0f\x31")


def enabled(source: str = "hlt", *, memory: x86.Memory | None = None, index: int = 0) -> x86.VCPU:
    """`flat32` with its APIC enabled by software: spurious vector FFh."""
    vcpu = flat32(source, memory=memory, index=index)
    write(vcpu, SVR, ENABLED | 0xFF)
    return vcpu


def several(count: int, memory: x86.Memory) -> list[x86.VCPU]:
    """vCPUs 0, 1, ... with their APICs enabled."""
    return [enabled(memory=memory, index=index) for index in range(count)]


def send(vcpu: x86.VCPU, command: int, destination: int = 0) -> None:
    """Write the interrupt command register: destination, then command."""
    write(vcpu, ICR_HIGH, destination << 24)
    write(vcpu, ICR_LOW, command)


def shown(vcpu: x86.VCPU, offset: int) -> int:
    """A register as the host sees it."""
    return int.from_bytes(vcpu.lapic[offset : offset + 4], "little")


def vectors(vcpu: x86.VCPU, offset: int) -> set[int]:
    """The bits that are set in the 256 of IRR, ISR or TMR."""
    words = (shown(vcpu, offset + 16 * part) for part in range(8))
    bits = sum(word << 32 * part for part, word in enumerate(words))
    return {vector for vector in range(256) if bits >> vector & 1}


def requested(vcpu: x86.VCPU) -> set[int]:
    return vectors(vcpu, IRR)


def in_service(vcpu: x86.VCPU) -> set[int]:
    return vectors(vcpu, ISR)


def interrupt_taken(vcpu: x86.VCPU) -> int | None:
    """The vector that the vCPU takes with interrupts on, or None. It stops in the handler."""
    vcpu.eflags |= FLAG_IF
    before = vcpu.stats["irq_injections"]
    assert run(vcpu) == "EXIT_HLT"
    return delivered(vcpu).vector if vcpu.stats["irq_injections"] > before else None


def interrupts_taken(vcpu: x86.VCPU, *, end: bool = True) -> list[int]:
    """The vectors that it takes one after the other, each ended by EOI unless `end` is False."""
    taken = []
    while (vector := interrupt_taken(vcpu)) is not None:
        taken.append(vector)
        if end:
            write(vcpu, EOI, 0)
    return taken
