from libc.stdint cimport int64_t, uint64_t

from x86core.state cimport CPU

cdef bint event_pending(CPU* cpu, bint masked_interrupts_count) noexcept nogil
cdef bint is_waiting_state(CPU* cpu) noexcept nogil
cdef bint is_runnable(CPU* cpu) noexcept nogil
cdef int64_t next_deadline(CPU* cpu) noexcept nogil
cdef bint line_changed(CPU* cpu, uint64_t line) noexcept nogil
