from libc.stdint cimport uint32_t

from x86core.state cimport CPU

ctypedef struct Leaf:
    uint32_t eax
    uint32_t ebx
    uint32_t ecx
    uint32_t edx

cdef Leaf cpuid_leaf(CPU* cpu, uint32_t leaf, uint32_t subleaf) noexcept nogil
