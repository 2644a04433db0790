from libc.stdint cimport uint32_t, uint64_t

from x86core.state cimport CPU

cdef uint64_t port_access(CPU* cpu, uint32_t port, int bytes, bint out, uint32_t value) noexcept nogil
