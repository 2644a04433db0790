"""The decoded blocks of one vCPU: where they lie, how they are found, how they are dropped.

Each vCPU has its own, so that nothing here needs a lock. A dropped block stays in the arena, with
every handler replaced by one that looks its own instruction up again, and with a count that no link
can enter; so the running block may be dropped at any instruction. The arena is given back whole.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from x86core.hostmemory cimport release, reserve
from x86core.intrinsics cimport DEAD_COUNT, atomic_load
from x86core.state cimport (BLOCK_HASH_ENTRIES, BLOCK_INSTRUCTIONS, CONTEXTS, CPU, CROSSING_LINKS, Block, CodePage,
                            Context, Handler, Insn, Link)

cdef enum:
    ARENA_SIZE = 32 << 20
    GENERATIONS = 1 << 24       # so many fit into a key beside the context

nowhere.count = DEAD_COUNT


cdef void set_stale_handler(Handler handler) noexcept:
    global stale_handler
    stale_handler = handler


cdef size_t block_size(int instructions) noexcept nogil:
    # Beyond the one in Block: room for a terminator and for the link.
    return sizeof(Block) + (instructions + 1) * sizeof(Insn)


cdef int blocks_create(CPU* cpu) except -1:
    """Room for the blocks of a vCPU; `ram` must be set. Raises MemoryError."""
    cdef uint64_t pages = cpu.ram.page_count
    cpu.arena = <uint8_t*>reserve(ARENA_SIZE)
    cpu.code_page_of = <uint32_t*>reserve(pages * sizeof(uint32_t))
    cpu.code_pages = <CodePage*>reserve((pages + 1) * sizeof(CodePage))
    cpu.scratch = <Block*>calloc(1, block_size(BLOCK_INSTRUCTIONS))
    if cpu.scratch == NULL:
        raise MemoryError()
    cpu.context_count = 1
    cpu.code_page_count = 1
    return 0


cdef void blocks_destroy(CPU* cpu) noexcept:
    cdef uint64_t pages = cpu.ram.page_count
    release(cpu.arena, ARENA_SIZE)
    release(cpu.code_page_of, pages * sizeof(uint32_t))
    release(cpu.code_pages, (pages + 1) * sizeof(CodePage))
    free(cpu.scratch)


cdef Block* block_allocate(CPU* cpu, int instructions) noexcept nogil:
    """Room for a block; drops all blocks when there is none left."""
    cdef size_t needed = block_size(instructions)
    cdef Block* block
    if cpu.arena_used + needed > ARENA_SIZE:
        flush_blocks(cpu)
    block = <Block*>(cpu.arena + cpu.arena_used)
    cpu.arena_used += needed
    return block


cdef inline Block** hash_slot(CPU* cpu, uint32_t physical) noexcept nogil:
    return &cpu.block_hash[physical * 0x9E3779B1U >> 18 & (BLOCK_HASH_ENTRIES - 1)]


cdef Block* block_find(CPU* cpu, uint32_t physical, uint32_t eip) noexcept nogil:
    """The block of the present context at this address, or NULL."""
    cdef Block* block = hash_slot(cpu, physical)[0]
    cdef uint32_t context = current_context(cpu)
    while block != NULL:
        if block.physical == physical and block.eip == eip and block.context == context:
            return block
        block = block.next_hash
    return NULL


cdef CodePage* code_page(CPU* cpu, uint32_t page, uint32_t version) noexcept nogil:
    cdef uint32_t slot = cpu.code_page_of[page]
    if slot == 0:
        slot = cpu.code_page_count
        cpu.code_page_count += 1
        cpu.code_page_of[page] = slot
        cpu.code_pages[slot].page = page
        cpu.code_pages[slot].version = version
        cpu.code_pages[slot].first = NULL
    elif cpu.code_pages[slot].version != version:
        drop_page(cpu, page)
        cpu.code_pages[slot].version = version
    return &cpu.code_pages[slot]


cdef void block_insert(CPU* cpu, Block* block, uint32_t version, uint32_t version2) noexcept nogil:
    """Make a block findable. `version`s: of the code of its pages, read before its bytes were."""
    cdef CodePage* owner = code_page(cpu, block.page[0], version)
    cdef Block** slot = hash_slot(cpu, block.physical)
    block.next_in_page[0] = owner.first
    owner.first = block
    if block.page[1] != block.page[0]:
        owner = code_page(cpu, block.page[1], version2)
        block.next_in_page[1] = owner.first
        owner.first = block
    block.next_hash = slot[0]
    slot[0] = block


cdef void forget_instructions(Block* block) noexcept nogil:
    cdef int64_t position
    for position in range(block.count):
        block.insns[position].handler = stale_handler


cdef void drop_block(CPU* cpu, Block* block) noexcept nogil:
    cdef Block** slot = hash_slot(cpu, block.physical)
    if block.count == DEAD_COUNT:
        return
    while slot[0] != block:
        slot = &slot[0].next_hash
    slot[0] = block.next_hash
    forget_instructions(block)
    block.count = DEAD_COUNT
    cpu.stats.blocks_dropped += 1


cdef void drop_page(CPU* cpu, uint32_t page) noexcept nogil:
    """Drop the blocks that have bytes in a physical page."""
    cdef uint32_t slot = cpu.code_page_of[page]
    cdef Block* block = cpu.scratch
    if block.page[0] == page or block.page[1] == page:
        forget_instructions(block)
    if slot == 0:
        return
    block = cpu.code_pages[slot].first
    cpu.code_pages[slot].first = NULL
    while block != NULL:
        drop_block(cpu, block)
        block = block.next_in_page[0 if block.page[0] == page else 1]


cdef void drop_modified(CPU* cpu) noexcept nogil:
    """Drop the blocks of every page whose code was stored to since they were decoded."""
    cdef uint32_t slot, version
    cdef CodePage* owner
    for slot in range(1, cpu.code_page_count):
        owner = &cpu.code_pages[slot]
        version = atomic_load(&cpu.ram.pages[owner.page].code_version)
        if owner.version != version:
            drop_page(cpu, owner.page)
            owner.version = version


cdef void flush_blocks(CPU* cpu) noexcept nogil:
    """Drop everything decoded. Only between blocks: the arena is used anew at once."""
    cdef uint32_t slot
    for slot in range(1, cpu.code_page_count):
        cpu.code_page_of[cpu.code_pages[slot].page] = 0
    cpu.code_page_count = 1
    memset(cpu.block_hash, 0, sizeof(cpu.block_hash))
    memset(cpu.jump_cache, 0, sizeof(cpu.jump_cache))
    cpu.arena_used = 0
    cpu.crossing_count = 0
    cpu.flushes += 1


cdef void set_link(CPU* cpu, Link* link, Block** side, Block* block, bint crosses) noexcept nogil:
    """Have a block go on with another one. `crosses`: that holds only until a translation changes."""
    if crosses:
        if cpu.crossing_count == CROSSING_LINKS:
            forget_links(cpu)
        cpu.crossing_links[cpu.crossing_count] = link
        cpu.crossing_count += 1
    side[0] = block


cdef void forget_links(CPU* cpu) noexcept nogil:
    cdef uint32_t number
    for number in range(cpu.crossing_count):
        cpu.crossing_links[number].taken = &nowhere
        cpu.crossing_links[number].fallthrough = &nowhere
    cpu.crossing_count = 0


cdef void forget_targets(CPU* cpu) noexcept nogil:
    """A translation has changed: what was found by a linear address is to be looked up again."""
    forget_links(cpu)
    cpu.generation = (cpu.generation + 1) & (GENERATIONS - 1)
    if cpu.generation == 0:
        memset(cpu.jump_cache, 0, sizeof(cpu.jump_cache))
    set_context_key(cpu, current_context(cpu))


cdef void set_context_key(CPU* cpu, uint32_t context) noexcept nogil:
    cpu.context_key = <uint64_t>(cpu.generation * CONTEXTS | context) << 32


cdef void set_context(CPU* cpu, uint32_t cs_base, uint32_t cs_limit, uint32_t mode) noexcept nogil:
    """Have blocks be found and made for this context."""
    set_context_key(cpu, intern_context(cpu, cs_base, cs_limit, mode))


cdef uint32_t intern_context(CPU* cpu, uint32_t cs_base, uint32_t cs_limit, uint32_t mode) noexcept nogil:
    """The number of a context. When they run out all start anew: no block is found by an old number,
    because a number is given out only after what bore it is dropped."""
    cdef uint32_t number
    cdef Context* context
    for number in range(1, cpu.context_count):
        context = &cpu.contexts[number]
        if context.cs_base == cs_base and context.cs_limit == cs_limit and context.mode == mode:
            return number
    if cpu.context_count == CONTEXTS:
        forget_contexts(cpu)
    number = cpu.context_count
    context = &cpu.contexts[number]
    context.cs_base = cs_base
    context.cs_limit = cs_limit
    context.mode = mode
    cpu.context_count += 1
    return number


cdef void forget_contexts(CPU* cpu) noexcept nogil:
    """Drop every block where it lies: the instruction that changes the context may be in one."""
    cdef uint32_t slot
    for slot in range(1, cpu.code_page_count):
        drop_page(cpu, cpu.code_pages[slot].page)
    memset(cpu.jump_cache, 0, sizeof(cpu.jump_cache))
    cpu.context_count = 1
