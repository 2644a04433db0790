from libc.stdint cimport uint32_t

from x86core.state cimport CPU

cdef int deliver_fault(CPU* cpu) noexcept nogil
cdef int deliver_software_interrupt(CPU* cpu, uint32_t vector, bint privileged) noexcept nogil
cdef int deliver_external_interrupt(CPU* cpu, uint32_t vector) noexcept nogil
cdef int deliver_nmi(CPU* cpu) noexcept nogil
cdef int deliver_debug_exception(CPU* cpu) noexcept nogil
