from libc.stdint cimport int64_t, uint32_t

from x86core.state cimport CPU

cdef int highest(const void* vectors) noexcept nogil
cdef int processor_priority(CPU* cpu) noexcept nogil
cdef bint apic_enabled(CPU* cpu) noexcept nogil
cdef bint apic_software_enabled(CPU* cpu) noexcept nogil
cdef int64_t timer_interrupt_at(CPU* cpu) noexcept nogil
cdef void end_interrupt(CPU* cpu) noexcept nogil
cdef bint eoi_pending(CPU* cpu) noexcept nogil
cdef int tell_eoi(CPU* cpu) noexcept nogil
cdef bint request_vector(CPU* cpu, uint32_t vector, bint level) noexcept nogil
cdef void report_error(CPU* cpu, uint32_t error) noexcept nogil
cdef bint accepts_external(CPU* cpu) noexcept nogil
cdef bint window_requested(CPU* cpu) noexcept nogil
cdef bint interrupt_pending(CPU* cpu) noexcept nogil
cdef int pending_vector(CPU* cpu) noexcept nogil
cdef int take_interrupt(CPU* cpu) noexcept nogil
