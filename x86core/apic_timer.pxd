from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.state cimport CPU

cdef int64_t next_stop(CPU* cpu) noexcept nogil
cdef bint timer_is_due(CPU* cpu) noexcept nogil
cdef void notice_timer(CPU* cpu) noexcept nogil
cdef void start_timer(CPU* cpu, uint32_t count) noexcept nogil
cdef void set_timer_entry(CPU* cpu, uint32_t entry) noexcept nogil
cdef void set_divisor(CPU* cpu, uint32_t value) noexcept nogil
cdef uint32_t current_count(CPU* cpu) noexcept nogil
cdef void set_tsc_deadline(CPU* cpu, uint64_t deadline) noexcept nogil
cdef void follow_tsc(CPU* cpu) noexcept nogil
