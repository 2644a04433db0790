from libc.stdint cimport int64_t, uint32_t

from x86core.state cimport CPU

cdef void request(CPU* cpu, uint32_t bits) noexcept nogil
cdef void post(CPU* cpu, uint32_t bits) noexcept nogil
cdef void unpark(CPU* cpu) noexcept nogil
cdef int park(CPU* cpu, int64_t nanoseconds) noexcept nogil
cdef bint interrupt_pending(CPU* cpu) noexcept nogil
cdef bint event_pending(CPU* cpu, bint masked_interrupts_count) noexcept nogil
cdef bint is_wanted(CPU* cpu, bint masked_interrupts_count) noexcept nogil
cdef void watch_wake_fd(CPU* cpu) noexcept nogil
