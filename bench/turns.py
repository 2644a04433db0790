"""A vCPU alone on a loop, and how long a turn of it takes."""

from __future__ import annotations

from time import perf_counter

import x86core
from bench.engines import EngineError
from bench.loops import CODE_ADDRESS, STACK_TOP, code


def vcpu_on(memory: x86core.Memory, program: str, index: int = 0) -> x86core.VCPU:
    """A vCPU before a program of bench/loops, which counts EBP down and ends in HLT.

    Stores wake its MWAIT. Raises vmm.AssemblyError without an assembler.
    """
    memory.write(CODE_ADDRESS, code(program))
    vcpu = x86core.VCPU(memory, index)
    vcpu.start_flat32(CODE_ADDRESS, STACK_TOP)
    vcpu.userspace_exits = x86core.USERSPACE_EXIT_HLT
    vcpu.mwait_policy = x86core.MWAIT_FAULT
    return vcpu


def ns_per_turn(vcpu: x86core.VCPU, turns: int, **registers: int) -> float:
    """Nanoseconds for each turn of the loop. Raises EngineError unless it makes all of them."""
    vcpu.eip, vcpu.ebp = CODE_ADDRESS, turns
    for name, value in registers.items():
        setattr(vcpu, name, value)
    start = perf_counter()
    reason = vcpu.run()
    seconds = perf_counter() - start
    if reason != x86core.EXIT_HLT or vcpu.ebp:
        raise EngineError(f"x86core stopped with {x86core.EXIT_NAMES[reason]}, not at HLT")
    vcpu.mp_state = x86core.MP_STATE_RUNNABLE
    return seconds * 1e9 / turns
