"""HLT MONITOR MWAIT MONITORX MWAITX: how a vCPU is idle, and what ends it.

What HLT and MWAIT come to is read from kvm_run at every idle instruction (idle.pyx).
"""
from libc.stdint cimport int64_t, uint32_t

from x86core.clock cimport guest_time
from x86core.dispatch cimport leave, spill
from x86core.idle cimport halt, wait_for_store
from x86core.intrinsics cimport NO_LIMIT
from x86core.monitored cimport watch_operand
from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.operands cimport *
from x86core.state cimport (CPU, EAX, EBX, ECX, EXCEPTION_GP, EXCEPTION_UD, EXIT_NONE, FEATURE_MONITORX,
                            Insn)
from x86core.variant cimport *

cdef enum:
    # MWAIT and MWAITX, ECX.
    MASKED_INTERRUPTS_BREAK = 1
    TIMER_ENABLED = 2


cdef inline int hlt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int reason
    spill(cpu, result, carries, carry)
    cpu.eip = next_eip(insn)
    reason = halt(cpu)
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline bint may_monitor(CPU* cpu) noexcept nogil:
    """Whether MONITOR and MWAIT exist here: at privilege level 0, and not turned off (IA32_MISC_ENABLE)."""
    if not cpu.misc_enable & MISC_ENABLE_MONITOR:
        return False
    return cpu.cpl == 0


cdef inline int wait_for_line(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                              int64_t until) noexcept nogil:
    cdef int reason
    spill(cpu, result, carries, carry)
    cpu.eip = next_eip(insn)
    cpu.carry_at_limit = False
    reason = wait_for_store(cpu, cpu.gpr[ECX] & MASKED_INTERRUPTS_BREAK, until)
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int monitor(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if not may_monitor(cpu):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX]:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    return watch_operand(cpu, insn, result, carries, carry, cpu.gpr[EAX])


cdef inline int mwait(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if not may_monitor(cpu):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX] & ~<uint32_t>MASKED_INTERRUPTS_BREAK:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    return wait_for_line(cpu, insn, result, carries, carry, NO_LIMIT)


# The same for every privilege level, and with a timer (AMD APM vol. 3).

cdef inline int monitorx(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # Behind F3 it is MCOMMIT, which is not there.
    if not cpu.features & FEATURE_MONITORX or insn.repeat == 0xF3:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX]:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    return watch_operand(cpu, insn, result, carries, carry, cpu.gpr[EAX])


cdef inline int mwaitx(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # The timer counts TSC ticks, which are nanoseconds; 0 of them stand for no limit.
    cdef int64_t until = NO_LIMIT
    if not cpu.features & FEATURE_MONITORX:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX] & ~<uint32_t>(MASKED_INTERRUPTS_BREAK | TIMER_ENABLED):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    if cpu.gpr[ECX] & TIMER_ENABLED and cpu.gpr[EBX]:
        until = guest_time(cpu) + cpu.gpr[EBX]
    return wait_for_line(cpu, insn, result, carries, carry, until)


include "idle_instances.pxi"
