"""x87 opcodes and WAIT on a machine without a coprocessor.

Nothing is executed and nothing is stored, so that a probe with FNINIT and FNSTSW or FNSTCW finds in memory what
it put there before (SDM vol. 1, 8.3.11 for how software looks). CR0.EM and CR0.TS give #NM.
"""
from libc.stdint cimport int64_t, uint32_t

from x86core.operands cimport *
from x86core.state cimport CPU, CR0_EM, CR0_MP, CR0_TS, EXCEPTION_NM, Insn
from x86core.variant cimport *


cdef inline int escape(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if cpu.cr0 & (CR0_EM | CR0_TS):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_NM)
    return next(cpu, insn, result, carries, carry)


cdef inline int wait(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if cpu.cr0 & (CR0_MP | CR0_TS) == (CR0_MP | CR0_TS):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_NM)
    return next(cpu, insn, result, carries, carry)


include "coprocessor_instances.pxi"
