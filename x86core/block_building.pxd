from libc.stdint cimport uint32_t

from x86core.state cimport CPU, Block

cdef Block* build_block(CPU* cpu, uint32_t physical) noexcept nogil
cdef Block* build_partial(CPU* cpu, int instructions) noexcept nogil
