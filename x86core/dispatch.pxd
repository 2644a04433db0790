from libc.stdint cimport int64_t, uint32_t

from x86core.state cimport CPU, Insn

cdef int enter(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil
cdef int fault(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil
cdef int fault_behind(CPU* cpu, Insn* insn) noexcept nogil
cdef int resolve_taken(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil
cdef int resolve_fallthrough(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil
cdef int leave(CPU* cpu, int reason) noexcept nogil
cdef void spill(CPU* cpu, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil
