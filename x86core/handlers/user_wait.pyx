"""UMONITOR UMWAIT TPAUSE (WAITPKG): waits at any privilege level, until a value of the TSC at the latest.

The operating system bounds them by IA32_UMWAIT_CONTROL; CF says that it was this bound that ended the wait.
Source: SDM vol. 2, UMONITOR, UMWAIT, TPAUSE.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.clock cimport guest_time
from x86core.dispatch cimport leave, spill
from x86core.flags cimport carries_from, result_from
from x86core.idle cimport pause_until, wait_for_store
from x86core.intrinsics cimport NO_LIMIT
from x86core.monitored cimport watch_operand
from x86core.operands cimport *
from x86core.state cimport CPU, EAX, EDX, EXCEPTION_GP, EXCEPTION_UD, EXIT_NONE, FEATURE_WAITPKG, Insn
from x86core.variant cimport *

cdef enum:
    LIGHTER_STATE = 1               # the operand's only bit: C0.1 and not C0.2
    MOST_TIME = 0xFFFFFFFCU         # IA32_UMWAIT_CONTROL: TSC ticks; 0 is no bound


cdef inline int64_t deadline(CPU* cpu) noexcept nogil:
    """Guest time at which the wait ends: by EDX:EAX, or by the operating system's bound if that comes first."""
    cdef int64_t now = guest_time(cpu)
    cdef uint64_t tsc = <uint64_t>now + cpu.tsc_offset
    cdef uint64_t wanted = <uint64_t>cpu.gpr[EDX] << 32 | cpu.gpr[EAX]
    cdef uint64_t left = wanted - tsc if wanted > tsc else 0
    cdef uint64_t most = cpu.umwait_control & MOST_TIME
    cpu.carry_at_limit = most != 0 and most < left
    if cpu.carry_at_limit:
        left = most
    return now + <int64_t>left if left < <uint64_t>NO_LIMIT // 2 else NO_LIMIT


cdef inline int wait_bounded(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                             bint monitored) noexcept nogil:
    cdef int reason
    if not cpu.features & FEATURE_WAITPKG:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if get_register(cpu, insn.rm, W32) & ~<uint32_t>LIGHTER_STATE:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    # All arithmetic flags are cleared, CF unless the bound is met.
    spill(cpu, result_from(0), carries_from(0), 0)
    cpu.eip = next_eip(insn)
    reason = wait_for_store(cpu, True, deadline(cpu)) if monitored else pause_until(cpu, deadline(cpu))
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return follow_fallthrough(cpu, insn, cpu.result, cpu.carries, cpu.carry)


cdef inline int umonitor(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if not cpu.features & FEATURE_WAITPKG:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    return watch_operand(cpu, insn, result, carries, carry, get_register(cpu, insn.rm, W32))


cdef inline int umwait(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return wait_bounded(cpu, insn, result, carries, carry, True)


cdef inline int tpause(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return wait_bounded(cpu, insn, result, carries, carry, False)


include "user_wait_instances.pxi"
