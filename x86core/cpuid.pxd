from libc.stdint cimport uint32_t

from x86core.state cimport CPU

cdef uint32_t cpuid_leaf(CPU* cpu, uint32_t leaf, int part) noexcept nogil
