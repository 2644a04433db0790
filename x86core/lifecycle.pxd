from libc.stdint cimport uint32_t

from x86core.state cimport CPU, RAM

cdef CPU* create_cpu(RAM* ram, int index) except NULL
cdef void reset_cpu(CPU* cpu) noexcept
cdef void start_cpu_real_mode(CPU* cpu, uint32_t selector, uint32_t offset) noexcept
cdef void start_cpu_flat32(CPU* cpu, uint32_t at, uint32_t stack) noexcept
cdef void forget_owner(CPU* cpu) noexcept
cdef void abandon_wait(CPU* cpu) noexcept nogil
cdef bint accept_start(CPU* cpu) noexcept nogil
