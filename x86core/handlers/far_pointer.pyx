"""LDS LES LFS LGS LSS: a register and a segment register from a far pointer in memory."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.operands cimport *
from x86core.segmentation cimport load_segment
from x86core.state cimport CPU, DS, ES, FS, GS, Insn, SS
from x86core.variant cimport *


cdef inline int load_pointer(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                             int segment) noexcept nogil:
    cdef uint32_t offset = effective_address(cpu, insn, v)
    cdef uint64_t value = load_at(cpu, insn, insn.segment, offset, size(v), INTENT_READ)
    cdef uint64_t selector
    if unlikely(faulted(value)):
        return fault(cpu, insn, result, carries, carry)
    selector = load_at(cpu, insn, insn.segment, (offset + size(v)) & address_mask(insn), 2, INTENT_READ)
    if unlikely(faulted(selector)) or load_segment(cpu, segment, <uint32_t>selector):
        return fault(cpu, insn, result, carries, carry)
    set_register(cpu, insn.reg, <uint32_t>value, v)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline int les(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_pointer(cpu, insn, result, carries, carry, v, ES)


cdef inline int lds(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_pointer(cpu, insn, result, carries, carry, v, DS)


cdef inline int lss(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_pointer(cpu, insn, result, carries, carry, v, SS)


cdef inline int lfs(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_pointer(cpu, insn, result, carries, carry, v, FS)


cdef inline int lgs(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_pointer(cpu, insn, result, carries, carry, v, GS)


include "far_pointer_instances.pxi"
