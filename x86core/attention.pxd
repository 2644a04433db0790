from libc.stdint cimport int64_t, uint32_t

from x86core.state cimport CPU

cdef void request(CPU* cpu, uint32_t bits) noexcept nogil
cdef void post(CPU* cpu, uint32_t bits) noexcept nogil
cdef void wake(CPU* cpu) noexcept nogil
cdef int park(CPU* cpu, int64_t nanoseconds) noexcept nogil
