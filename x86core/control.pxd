from libc.stdint cimport uint32_t

from x86core.state cimport CPU, CR4_DE, CR4_PGE, CR4_PSE, CR4_TSD

cdef enum:
    CR4_WRITABLE = CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE

cdef int write_cr0(CPU* cpu, uint32_t value) noexcept nogil
cdef void write_cr3(CPU* cpu, uint32_t value) noexcept nogil
cdef int write_cr4(CPU* cpu, uint32_t value) noexcept nogil
