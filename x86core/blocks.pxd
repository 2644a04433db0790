from libc.stdint cimport uint32_t

from x86core.state cimport CONTEXTS, CPU, Block, Handler, Link

# Entered by no link: what a link points to before its target is known.
cdef Block nowhere

# Stands in for every handler of a dropped block.
cdef Handler stale_handler

cdef void set_stale_handler(Handler handler) noexcept
cdef int blocks_create(CPU* cpu) except -1
cdef void blocks_destroy(CPU* cpu) noexcept
cdef Block* block_allocate(CPU* cpu, int instructions) noexcept nogil
cdef Block* block_find(CPU* cpu, uint32_t physical, uint32_t eip) noexcept nogil
cdef void block_insert(CPU* cpu, Block* block, uint32_t version, uint32_t version2) noexcept nogil
cdef void drop_page(CPU* cpu, uint32_t page) noexcept nogil
cdef void drop_modified(CPU* cpu) noexcept nogil
cdef void flush_blocks(CPU* cpu) noexcept nogil
cdef void set_context(CPU* cpu, uint32_t cs_base, uint32_t cs_limit, uint32_t mode) noexcept nogil
cdef void set_link(CPU* cpu, Link* link, Block** side, Block* block, bint crosses) noexcept nogil
cdef void forget_targets(CPU* cpu) noexcept nogil


cdef inline uint32_t current_context(CPU* cpu) noexcept nogil:
    return cpu.context_key >> 32 & (CONTEXTS - 1)


cdef inline uint32_t jump_hash(uint32_t eip) noexcept nogil:
    # Multiplicative, so that targets at the same place of different pages do not collide.
    return eip * 0x9E3779B1U >> 20
