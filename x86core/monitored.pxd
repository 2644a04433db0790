"""The memory operand of MONITOR and its kin."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.idle cimport watch
from x86core.mmu cimport translate
from x86core.operands cimport *
from x86core.state cimport CPU, Insn


cdef inline int watch_operand(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                              uint32_t offset) noexcept nogil:
    """Monitor what lies at an offset. As a load of a byte: limit, paging (SDM vol. 2, MONITOR)."""
    cdef uint64_t linear = segment_address(cpu, insn.segment, offset & address_mask(insn), 1, INTENT_READ)
    cdef uint64_t physical
    if unlikely(faulted(linear)):
        return fault(cpu, insn, result, carries, carry)
    physical = translate(cpu, <uint32_t>linear, INTENT_READ)
    if unlikely(faulted(physical)):
        return fault(cpu, insn, result, carries, carry)
    watch(cpu, <uint32_t>linear, physical)
    return next(cpu, insn, result, carries, carry)
