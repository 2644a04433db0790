"""HLT MONITOR MWAIT: how a vCPU is idle, and what ends it.

HLT and MWAIT leave to the VMM where kvm_run.userspace_exits asks for it. Otherwise HLT blocks in the
core and MWAIT does what kvm_run.mwait_policy says. Both are read at every idle instruction.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.dispatch cimport leave, spill
from x86core.idle cimport wait_for_interrupt, wait_for_store
from x86core.mmu cimport translate
from x86core.monitor cimport monitor_arm, monitor_disarm
from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.operands cimport *
from x86core.state cimport (CPU, CR0_PE, CS, EAX, ECX, EXCEPTION_GP, EXCEPTION_UD, EXIT_HLT, EXIT_MWAIT, EXIT_NONE,
                            MP_STATE_HALTED, MWAIT_FAULT, MWAIT_YIELD, USERSPACE_EXIT_HLT, USERSPACE_EXIT_MWAIT, Insn)
from x86core.variant cimport *

cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef inline int hlt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int reason
    spill(cpu, result, carries, carry)
    cpu.eip = next_eip(insn)
    cpu.stats.halt_exits += 1
    cpu.mp_state = MP_STATE_HALTED
    if cpu.run.userspace_exits & USERSPACE_EXIT_HLT:
        return leave(cpu, EXIT_HLT)
    reason = wait_for_interrupt(cpu)
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline bint may_monitor(CPU* cpu) noexcept nogil:
    """Whether MONITOR and MWAIT exist here: at privilege level 0, and not turned off (IA32_MISC_ENABLE)."""
    if not cpu.misc_enable & MISC_ENABLE_MONITOR:
        return False
    return not cpu.cr0 & CR0_PE or cpu.segments[CS].selector & 3 == 0


cdef inline int monitor(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # As a load of a byte: limit, paging (SDM vol. 2, MONITOR).
    cdef uint32_t offset = cpu.gpr[EAX] & address_mask(insn)
    cdef uint64_t linear
    cdef uint64_t physical
    if not may_monitor(cpu):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX]:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    linear = segment_address(cpu, insn.segment, offset, 1, INTENT_READ)
    if unlikely(faulted(linear)):
        return fault(cpu, insn, result, carries, carry)
    physical = translate(cpu, <uint32_t>linear, INTENT_READ)
    if unlikely(faulted(physical)):
        return fault(cpu, insn, result, carries, carry)
    monitor_arm(cpu, physical)
    return next(cpu, insn, result, carries, carry)


cdef inline int mwait(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int reason
    if not may_monitor(cpu):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if cpu.gpr[ECX] & ~<uint32_t>1:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    cpu.stats.mwait_instructions += 1
    if cpu.run.userspace_exits & USERSPACE_EXIT_MWAIT:
        spill(cpu, result, carries, carry)
        cpu.eip = next_eip(insn)
        cpu.stats.mwait_exits += 1
        monitor_disarm(cpu)
        return leave(cpu, EXIT_MWAIT)
    if cpu.run.mwait_policy == MWAIT_FAULT:
        spill(cpu, result, carries, carry)
        cpu.eip = next_eip(insn)
        reason = wait_for_store(cpu, cpu.gpr[ECX] & 1)
        if reason != EXIT_NONE:
            return leave(cpu, reason)
        return follow_fallthrough(cpu, insn, result, carries, carry)
    monitor_disarm(cpu)
    if cpu.run.mwait_policy == MWAIT_YIELD:
        sched_yield()
    return follow_fallthrough(cpu, insn, result, carries, carry)


include "idle_instances.pxi"
