from libc.stdint cimport uint32_t

from x86core.state cimport CPU, Block, Handler

cdef enum:
    MAX_INSTANCES = 8192

# By Insn.instance: the form of the same instruction that can do everything.
cdef Handler careful_handlers[MAX_INSTANCES]

cdef void register_instance(str name, Handler handler)
cdef Block* decode_block(CPU* cpu, uint32_t physical) noexcept nogil
cdef Block* decode_partial(CPU* cpu, int instructions) noexcept nogil
