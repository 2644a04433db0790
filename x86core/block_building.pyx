"""From code in guest RAM to a block: fetching, marking what was decoded, choosing and fusing handlers."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from x86core.blocks cimport block_allocate, block_insert, current_context, nowhere
from x86core.decode cimport MAX_LENGTH, Bytes, Decoded, choose_slot, decode_one
from x86core.debug_registers cimport breakpoints_at
from x86core.guest_debug cimport is_breakpoint
from x86core.intrinsics cimport atomic_load, atomic_or, atomic_store
from x86core.mmu cimport INTENT_FETCH, faulted, raise_exception, translate
from x86core.opcodes cimport (CHAIN, FORBIDDEN, MAY_READ, ON_CAREFUL, OVERWRITES, TOO_LONG, UNDEFINED, Entry, first_of_pair,
                              fused_pairs, handlers, second_of_pair)
from x86core.shootdown cimport everybody_answered, lock_page, shootdown, unlock_page
from x86core.state cimport (BLOCK_INSTRUCTIONS, CPU, CS, EXCEPTION_GP, LINE_SIZE, NO_MEMORY, PAGE_CODE, PAGE_SIZE,
                            Block, Handler, Insn, Link, Page)


cdef void set_breakpoint_handler(Handler handler) noexcept:
    global breakpoint_handler
    breakpoint_handler = handler


cdef bint mark_code(CPU* cpu, uint64_t physical, int length) noexcept nogil:
    """Note that these bytes of one page are decoded. Whether that was new."""
    cdef bint fresh = False
    cdef uint64_t line, bits
    cdef uint64_t first = physical / LINE_SIZE
    cdef uint64_t last = (physical + length - 1) / LINE_SIZE
    cdef Page* page = &cpu.ram.pages[physical >> 12]
    for line in range(first, last + 1):
        bits = ~<uint64_t>0
        if line == first:
            bits &= ~<uint64_t>0 << (physical & 63)
        if line == last:
            bits &= ~<uint64_t>0 >> (63 - ((physical + length - 1) & 63))
        if ~atomic_load(&cpu.ram.code_bytes[line]) & bits:
            atomic_or(&cpu.ram.code_bytes[line], bits)
            fresh = True
    if not atomic_load(&page.attributes) & PAGE_CODE:
        lock_page(page)
        atomic_store(&page.code_at, ~<uint64_t>0)   # until its number is known, nobody has answered
        atomic_or(&page.attributes, PAGE_CODE)
        shootdown(cpu.ram, cpu)
        atomic_store(&page.code_at, atomic_load(&cpu.ram.shootdown))
        unlock_page(page)
        fresh = True
    return fresh


cdef bint is_watched(CPU* cpu, uint64_t physical) noexcept nogil:
    """Whether a store to this page by any vCPU from now on drops the code decoded from it."""
    cdef Page* page = &cpu.ram.pages[physical >> 12]
    return atomic_load(&page.attributes) & PAGE_CODE and everybody_answered(cpu.ram, atomic_load(&page.code_at))


cdef bint gather(CPU* cpu, Bytes* code, uint32_t eip, uint64_t physical, uint64_t* beyond) noexcept nogil:
    """Up to MAX_LENGTH bytes at an address of which the first page is known.

    False, with cpu.exception set, when bytes of a second page are wanted (`beyond` is not NULL) and
    there is none. `beyond` gets its physical address.
    """
    cdef int here = PAGE_SIZE - (physical & (PAGE_SIZE - 1))
    cdef int64_t within = <int64_t>cpu.segments[CS].limit - eip + 1
    cdef int wanted = MAX_LENGTH
    cdef uint64_t second
    if within < wanted:
        wanted = <int>within
    if here > wanted:
        here = wanted
    memcpy(code.at, cpu.ram.bytes + physical, here)
    code.available = here
    if beyond == NULL or here == MAX_LENGTH:
        return True
    if here == wanted:
        raise_exception(cpu, EXCEPTION_GP, 0)
        return False
    second = translate(cpu, cpu.segments[CS].base + eip + here, INTENT_FETCH)
    if faulted(second):
        return False
    if second >= cpu.ram.size:
        raise_exception(cpu, NO_MEMORY, 0)
        return False
    beyond[0] = second
    memcpy(code.at + here, cpu.ram.bytes + second, wanted - here)
    code.available = wanted
    return True


cdef int fetch_one(CPU* cpu, uint32_t eip, uint64_t physical, Insn* insn, Decoded* decoded,
                   uint64_t* beyond, uint32_t* version, bint* watched) noexcept nogil:
    """Decode the instruction at eip: how many of its bytes lie in the page, or -1 on a fault.

    Bytes are marked as code before they are taken for good, so that no change of them is missed.
    `beyond` and `version` get the second page that it reaches into, if any. `watched` is cleared when
    some vCPU could still change the bytes unseen: what was decoded may be executed, but not kept.
    """
    cdef Bytes code
    cdef int here
    cdef bint answered
    while True:
        answered = is_watched(cpu, physical)
        insn.eip = eip
        beyond[0] = 0
        gather(cpu, &code, eip, physical, NULL)
        decode_one(cpu.mode, &code, insn, decoded)
        if code.short and code.available < MAX_LENGTH:
            if not gather(cpu, &code, eip, physical, beyond):
                return -1
            version[0] = atomic_load(&cpu.ram.pages[beyond[0] >> 12].code_version)
            answered = False            # it is rare: looked at again below
            decode_one(cpu.mode, &code, insn, decoded)
            if code.short and code.available < MAX_LENGTH:
                raise_exception(cpu, EXCEPTION_GP, 0)
                return -1
        if code.short:
            decoded.bad = True          # longer than any instruction: TOO_LONG
            decoded.entry = NULL
            code.used = code.available
        insn.length = code.used
        here = PAGE_SIZE - (physical & (PAGE_SIZE - 1))
        if here > code.used:
            here = code.used
            beyond[0] = 0
        if not mark_code(cpu, physical, here) and answered and here == code.used:
            return here
        answered = is_watched(cpu, physical)
        if here < code.used:
            mark_code(cpu, beyond[0], code.used - here)
            answered = answered and is_watched(cpu, beyond[0])
        watched[0] = watched[0] and answered
        if not memcmp(code.at, cpu.ram.bytes + physical, here) and (
                here == code.used or not memcmp(code.at + here, cpu.ram.bytes + beyond[0], code.used - here)):
            return here


cdef void finish_block(Block* block, Decoded* decoded, uint8_t* slots, int count, bint ended) noexcept nogil:
    """Choose the handlers: leave out flags that nobody reads, fuse pairs, end the block."""
    cdef bint live = True
    cdef int position
    cdef Entry* entry
    cdef Insn* insn
    cdef Insn* behind
    cdef Link* link
    cdef uint16_t fused
    for position in range(count - 1, -1, -1):
        insn = &block.insns[position]
        insn.remaining = count - position
        entry = decoded[position].entry
        if decoded[position].bad:
            insn.instance = UNDEFINED if entry != NULL else TOO_LONG
            live = True
            continue
        if decoded[position].forbidden:
            insn.instance = FORBIDDEN
            live = True
            continue
        if not live and slots[position] < ON_CAREFUL and entry.instances[decoded[position].large][slots[position] + 1]:
            slots[position] += 1
        insn.instance = entry.instances[decoded[position].large][slots[position]]
        # Whatever reaches memory may fault, and a fault shows the flags before it.
        if decoded[position].in_memory and not entry.address_only or entry.on_stack:
            live = True
        elif entry.flag_use == OVERWRITES:
            live = False
        elif entry.flag_use == MAY_READ:
            live = True
    # Backward, so that what is fused may be part of a pair again.
    for position in range(count - 1, -1, -1):
        insn = &block.insns[position]
        if position + 1 < count:
            fused = fused_pairs[first_of_pair[insn.instance]][second_of_pair[insn[1].instance]]
            if fused:
                insn.instance = fused
        insn.handler = handlers[insn.instance]
    block.count = count
    behind = &block.insns[count]
    if not ended:
        # Nothing ends the block by itself: go on behind it. Not an instruction, so none remains.
        insn = &block.insns[count - 1]
        memset(behind, 0, sizeof(Insn))
        behind.eip = insn.eip + insn.length
        behind.instance = CHAIN
        behind.handler = handlers[CHAIN]
        behind += 1
    link = <Link*>behind
    link.taken = &nowhere
    link.fallthrough = &nowhere


cdef int decode_into(CPU* cpu, Block* block, uint32_t physical, int most, uint32_t* version,
                     bint* watched) noexcept nogil:
    """Decode up to `most` instructions at cpu.eip; how many, or 0 with cpu.exception set."""
    cdef Decoded decoded[BLOCK_INSTRUCTIONS]
    cdef uint8_t slots[BLOCK_INSTRUCTIONS]
    cdef uint32_t eip = cpu.eip
    cdef uint64_t at = physical
    cdef uint64_t beyond = 0
    cdef bint ended = False
    cdef bint shadowed = False
    cdef bint begins_at_breakpoint = False
    cdef int count = 0
    cdef int here
    cdef Entry* entry
    watched[0] = True
    block.eip = cpu.eip
    block.context = current_context(cpu)
    block.physical = physical
    block.page[0] = physical >> 12
    block.page[1] = block.page[0]
    version[0] = atomic_load(&cpu.ram.pages[physical >> 12].code_version)
    while count < most and not ended:
        if count and (eip > cpu.segments[CS].limit or at >> 12 != block.page[0]):
            break
        if cpu.watching and (is_breakpoint(cpu, cpu.segments[CS].base + eip)
                             or breakpoints_at(cpu, cpu.segments[CS].base + eip)):
            if count:
                break
            begins_at_breakpoint = True
        here = fetch_one(cpu, eip, at, &block.insns[count], &decoded[count], &beyond, &version[1], watched)
        if here < 0:
            if count == 0:
                return 0
            break                   # the fault belongs to the next block
        if beyond:
            block.page[1] = beyond >> 12
        entry = decoded[count].entry
        if not decoded[count].bad:
            slots[count] = choose_slot(cpu.mode, &block.insns[count], &decoded[count])
        ended = decoded[count].bad or decoded[count].forbidden or entry.ends
        eip += block.insns[count].length
        at += block.insns[count].length
        count += 1
        if shadowed:
            break
        shadowed = not decoded[count - 1].bad and entry.shadows
        if beyond:
            break
    finish_block(block, decoded, slots, count, ended)
    if begins_at_breakpoint:
        block.insns.handler = breakpoint_handler
    return count


cdef Block* build_block(CPU* cpu, uint32_t physical) noexcept nogil:
    """Decode the block at cpu.eip, which lies at a physical address in RAM, and keep it.

    NULL, with cpu.exception set, when its first instruction cannot be fetched.
    """
    cdef Block* block
    cdef uint32_t version[2]
    cdef bint watched
    cdef int used
    block = block_allocate(cpu, BLOCK_INSTRUCTIONS)
    used = decode_into(cpu, block, physical, BLOCK_INSTRUCTIONS, version, &watched)
    if used == 0 or not watched:
        cpu.arena_used = <uint8_t*>block - cpu.arena
        # Some vCPU has not answered the shootdown of the page yet: to be run once, and decoded again.
        return build_partial(cpu, BLOCK_INSTRUCTIONS) if used else NULL
    # Give back what the block did not need.
    cpu.arena_used = <uint8_t*>(block.insns + used + 2) - cpu.arena
    block_insert(cpu, block, version[0], version[1])
    cpu.stats.blocks_decoded += 1
    return block


cdef Block* build_partial(CPU* cpu, int instructions) noexcept nogil:
    """The first few instructions at cpu.eip, to be run once; they are known to be there."""
    cdef uint32_t version[2]
    cdef bint watched
    cdef uint64_t physical = translate(cpu, cpu.segments[CS].base + cpu.eip, INTENT_FETCH)
    if faulted(physical) or decode_into(cpu, cpu.scratch, <uint32_t>physical, instructions, version,
                                        &watched) == 0:
        return NULL
    return cpu.scratch
