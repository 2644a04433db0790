from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.state cimport CPU

cdef int halt(CPU* cpu) noexcept nogil
cdef int wait_for_store(CPU* cpu, bint masked_interrupts_wake, int64_t until) noexcept nogil
cdef int pause_until(CPU* cpu, int64_t until) noexcept nogil
cdef void watch(CPU* cpu, uint32_t linear, uint64_t physical) noexcept nogil
cdef int resume_wait(CPU* cpu) noexcept nogil
cdef void enter_guest(CPU* cpu) noexcept nogil
cdef void leave_guest(CPU* cpu) noexcept nogil
