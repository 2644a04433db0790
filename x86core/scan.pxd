from libc.stdint cimport uint64_t

from x86core.state cimport CPU

cdef void scan_arm(CPU* cpu, uint64_t physical) noexcept nogil
cdef void scan_begin(CPU* cpu) noexcept nogil
cdef void scan_end(CPU* cpu) noexcept nogil
cdef void scan_monitors(CPU* cpu) noexcept nogil
