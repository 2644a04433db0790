from libc.stdint cimport int64_t

from x86core.state cimport CPU

cdef enum:
    POLL_HLT = 0
    POLL_MWAIT = 1

cdef int64_t poll_window(CPU* cpu, int kind) noexcept nogil
cdef void count_poll(CPU* cpu, int kind, bint successful, bint valid, int64_t nanoseconds) noexcept nogil
cdef void adjust_poll_window(CPU* cpu, int kind, int64_t waited, bint valid) noexcept nogil
