from libc.stdint cimport uint32_t

from x86core.state cimport CPU, Block, Handler

# Stands in for the handler of an instruction with a breakpoint.
cdef Handler breakpoint_handler

cdef void set_breakpoint_handler(Handler handler) noexcept
cdef Block* build_block(CPU* cpu, uint32_t physical) noexcept nogil
cdef Block* build_partial(CPU* cpu, int instructions) noexcept nogil
