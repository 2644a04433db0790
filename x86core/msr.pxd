from libc.stdint cimport uint32_t, uint64_t

from x86core.state cimport CPU

cdef enum:
    MISC_ENABLE_MONITOR = 1 << 18   # MONITOR and MWAIT exist (SDM vol. 4, IA32_MISC_ENABLE)

cdef int read_msr(CPU* cpu, uint32_t index) noexcept nogil
cdef int write_msr(CPU* cpu, uint32_t index, uint64_t value) noexcept nogil
cdef uint64_t timestamp(CPU* cpu) noexcept nogil
