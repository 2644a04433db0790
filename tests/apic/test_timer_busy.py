"""A timer that comes due while the guest never idles: it is interrupted whatever it executes."""

from __future__ import annotations

import threading
import time

import pytest

import x86core as x86
from tests.apic.local_apic import (
    BY_1,
    DEADLINE,
    DIVIDE,
    EOI,
    INITIAL_COUNT,
    LVT_TIMER,
    TSC_DEADLINE,
    enabled,
    tsc,
    write,
    wrmsr,
)
from tests.apic.timer_guest import VECTOR
from tests.support import (
    CODE,
    FLAG_IF,
    PATIENCE,
    TRAP_GATE,
    UD,
    Running,
    gate,
    set_gate,
    stack_top,
)

#: Nanoseconds until the timer is due, and by which the quickest of some attempts may be late.
AHEAD, LATE = 2_000_000, 1_000_000
ATTEMPTS = 6

ALL_OF_RAM = "mov esi, 0x20000; mov edi, {}; mov ecx, 0xC0000; "
LOOPS = {
    "inc": "inc ecx",
    "one instruction": "nop",
    "rep stosb": f"{ALL_OF_RAM.format('0x20000')} rep stosb",
    "rep stosd backward": "std; mov edi, 0xDFFFC; mov ecx, 0x30000; rep stosd",
    "rep movsb by bytes": f"{ALL_OF_RAM.format('0x20001')} rep movsb",
    "rep lodsb": f"{ALL_OF_RAM.format('0')} rep lodsb",
    "repe cmpsb": "mov esi, 0x20000; mov edi, 0x80000; mov ecx, 0x60000; repe cmpsb",
    "div": "mov ebx, 3; xor edx, edx; div ebx",
    "lock": "lock xadd [0x20000], eax",
    "straddling": "inc dword ptr [0x20FFE]",
    "mov cr3": "mov cr3, eax; mov cr3, eax; mov cr3, eax",
    "invlpg": "invlpg [0x20000]; mov eax, [0x20000]",
    "segments": "mov eax, ds; mov es, eax; mov fs, eax",
    "far jump": ".byte 0xea; .long there; .word 8; there: nop",
    "int": "int 0x81",
    "ud2": "ud2",
    "self-modifying": "inc dword ptr [there + 1]; there: mov eax, 0x12345678",
    "rdtsc": "rdtsc",
    "cpuid": "mov eax, 1; cpuid",
    "apic": "mov eax, [0xFEE00390]; mov dword ptr [0xFEE00080], 0",
    "mwait": "xor ecx, ecx; mwait",
    "pause": "pause",
    "popf": "pushf; popf",
    "sti": "cli; sti",
}
#: RDTSC; OUT.
HANDLER = b"\x0f\x31\xe6\x80"


def busy(name: str) -> x86.VCPU:
    """A guest that executes one of LOOPS for ever, and leaves the core in the timer's handler."""
    vcpu = enabled(f"again: {LOOPS[name]}; jmp again")
    vcpu.mwait_policy = x86.MWAIT_NOP
    vcpu.memory.write(0x3000 + VECTOR, HANDLER)
    # INT 81h returns; so does UD2, behind itself.
    vcpu.memory.write(0x5000, b"\xcf\x83\x04\x24\x02\xcf")
    set_gate(vcpu.memory, 0x81, gate(0x5000, kind=TRAP_GATE))
    set_gate(vcpu.memory, UD, gate(0x5001, kind=TRAP_GATE))
    write(vcpu, DIVIDE, BY_1)
    return vcpu


def time_used(vcpu: x86.VCPU) -> int:
    """Nanoseconds of host CPU until the guest takes the interrupt of a deadline that is AHEAD.

    CPU time, not the clock: a thread that the host does not let run cannot be in time.
    """
    vcpu.eip, vcpu.esp = CODE, stack_top()
    deadline = tsc(vcpu) + AHEAD
    wrmsr(vcpu, DEADLINE, deadline)
    vcpu.eflags |= FLAG_IF
    before = time.thread_time_ns()
    assert vcpu.run() == x86.EXIT_IO
    used = time.thread_time_ns() - before
    assert vcpu.eip == 0x3000 + VECTOR + 2, "the OUT of the handler"
    assert vcpu.edx << 32 | vcpu.eax >= deadline
    write(vcpu, EOI, 0)
    return used


@pytest.mark.parametrize("name", LOOPS)
def test_a_timer_reaches_a_busy_guest(name: str) -> None:
    vcpu = busy(name)
    write(vcpu, LVT_TIMER, TSC_DEADLINE | VECTOR)
    attempts = [time_used(vcpu)]
    while min(attempts) > AHEAD + LATE and len(attempts) < ATTEMPTS:
        attempts.append(time_used(vcpu))
    assert min(attempts) <= AHEAD + LATE


def test_looks_at_the_clock_do_not_count_as_the_end_of_a_limit() -> None:
    """A run of so many instructions has so many, be a timer near or far."""
    vcpu = enabled("again: inc eax; inc ebx; inc ecx; inc edx; inc esi; jmp again")
    write(vcpu, DIVIDE, BY_1)
    for count in (100_000, 3_000_000, 1 << 31):
        write(vcpu, INITIAL_COUNT, count)  # masked: it only makes the vCPU look
        for limit in (1, 7, 600, 12_345, 400_000):
            before = vcpu.instructions
            assert vcpu.run(max_instructions=limit) == x86.EXIT_LIMIT
            assert vcpu.instructions == before + limit


def test_a_limit_is_met_where_a_look_at_the_clock_was_to_be() -> None:
    """Instruction by instruction past the place of the last look: each run ends."""
    vcpu = busy("inc")
    write(vcpu, LVT_TIMER, VECTOR)
    write(vcpu, INITIAL_COUNT, 200_000)
    vcpu.eflags |= FLAG_IF
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_IO"
    vcpu.eip = CODE
    before = vcpu.instructions

    def step() -> None:
        while vcpu.instructions < before + 3000 and vcpu.run(max_instructions=1) == x86.EXIT_LIMIT:
            pass

    stepper = threading.Thread(target=step, daemon=True)
    stepper.start()
    stepper.join(PATIENCE)
    vcpu.kick()
    stepper.join(PATIENCE)
    assert vcpu.instructions == before + 3000
