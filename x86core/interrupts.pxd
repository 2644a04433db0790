from libc.stdint cimport int64_t

from x86core.state cimport CPU

cdef int highest(const void* vectors) noexcept nogil
cdef int processor_priority(CPU* cpu) noexcept nogil
cdef bint apic_enabled(CPU* cpu) noexcept nogil
cdef bint apic_software_enabled(CPU* cpu) noexcept nogil
cdef int64_t timer_interrupt_at(CPU* cpu) noexcept nogil
cdef bint interrupt_pending(CPU* cpu) noexcept nogil
cdef int take_interrupt(CPU* cpu) noexcept nogil
