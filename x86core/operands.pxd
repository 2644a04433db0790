"""What every handler is made of: operands, the next instruction, links to other blocks.

All of it is inline and none of it takes the address of a local variable: a handler whose locals
escape could not end in a tail call. The argument `v` is a variant (variant.pxd), a constant.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from x86core.blocks cimport jump_hash
from x86core.opcodes cimport careful_handlers
from x86core.dispatch cimport enter, fault, resolve_fallthrough, resolve_taken
from x86core.intrinsics cimport likely, never_null, settled, unlikely
from x86core.mmu cimport (FAULT, INTENT_READ, INTENT_WRITE, faulted, load_from, probe_linear, raise_exception, read_linear,
                          store_to, write_linear)
from x86core.segmentation cimport segment_address
from x86core.state cimport CPU, ESP, SS, Block, Handler, Insn, JumpEntry, Link, SegmentCache, TLBEntry
from x86core.tlb cimport tag_matches, tlb_entry
from x86core.variant cimport ACCESS, CAREFUL, FLAT, FLAT_INDEXED, FORM, FORM_M, FORM_R, SEGMENTED, W8, W16, WIDTH, is_memory, size


# Going on.

cdef inline int next(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """The instruction behind this one."""
    insn = <Insn*>settled(insn + 1)
    return insn.handler(cpu, insn, result, carries, carry)


cdef inline int begin(CPU* cpu, Block* block, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """The first instruction of a block."""
    cdef Insn* insn = <Insn*>settled(&block.insns[0])
    return insn.handler(cpu, insn, result, carries, carry)


cdef inline int careful(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """This instruction, in the form that can do everything."""
    return careful_handlers[insn.instance](cpu, insn, result, carries, carry)


cdef inline int follow_taken(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """The block at insn.immediate."""
    cdef Block* block = (<Link*>(insn + 1)).taken
    cpu.retired += block.count
    if unlikely(cpu.retired > cpu.stop_at):
        return resolve_taken(cpu, insn, result, carries, carry)
    return begin(cpu, block, result, carries, carry)


cdef inline int follow_fallthrough(CPU* cpu, Insn* insn, int64_t result, uint32_t carries,
                                   uint32_t carry) noexcept nogil:
    """The block behind this instruction, which ends its own."""
    cdef Block* block = (<Link*>(insn + 1)).fallthrough
    cpu.retired += block.count
    if unlikely(cpu.retired > cpu.stop_at):
        return resolve_fallthrough(cpu, insn, result, carries, carry)
    return begin(cpu, block, result, carries, carry)


cdef inline int jump(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                     uint32_t eip) noexcept nogil:
    """The block at an address known only now."""
    cdef JumpEntry* entry = &cpu.jump_cache[jump_hash(eip)]
    cdef Block* block
    if likely(entry.key == (cpu.context_key | eip)):
        block = entry.block
        cpu.retired += block.count
        if likely(cpu.retired <= cpu.stop_at):
            return begin(cpu, block, result, carries, carry)
        cpu.retired -= block.count
    cpu.eip = eip
    return enter(cpu, insn, result, carries, carry)


cdef inline int raise_at(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                         uint32_t vector) noexcept nogil:
    """A fault of this instruction with error code 0."""
    cpu.exception = vector
    cpu.error_code = 0
    return fault(cpu, insn, result, carries, carry)


# Registers, by byte offset in CPU.

cdef inline uint32_t get_register(CPU* cpu, uint8_t offset, int v) noexcept nogil:
    return load_from(<uint8_t*>cpu + offset, size(v))


cdef inline void set_register(CPU* cpu, uint8_t offset, uint32_t value, int v) noexcept nogil:
    store_to(<uint8_t*>cpu + offset, value, size(v))


cdef inline uint32_t register32(CPU* cpu, uint8_t offset) noexcept nogil:
    return (<uint32_t*>(<uint8_t*>cpu + offset))[0]


# The memory operand. `locate` first: NULL sends the handler to its careful form.

cdef inline uint32_t address_mask(Insn* insn) noexcept nogil:
    return <uint32_t><int32_t>insn.address_mask | 0xFFFF


cdef inline uint32_t effective_address(CPU* cpu, Insn* insn, int v) noexcept nogil:
    cdef uint32_t address = register32(cpu, insn.base) + insn.displacement
    if v & ACCESS == FLAT:
        return address
    address += register32(cpu, insn.index) << insn.scale
    if v & ACCESS == FLAT_INDEXED:
        return address
    return address & address_mask(insn)


cdef inline uint8_t* direct(CPU* cpu, int segment, uint32_t offset, int bytes, int v, int intent) noexcept nogil:
    """Host address of bytes in a segment, or NULL when only the careful form can tell."""
    cdef SegmentCache* register
    cdef TLBEntry* entry
    if v & ACCESS == SEGMENTED:
        register = &cpu.segments[segment]
        if unlikely(<int64_t>offset + (bytes - 1)
                    > (register.write_limit if intent == INTENT_WRITE else register.read_limit)):
            return NULL
        offset += register.base
    entry = tlb_entry(cpu, offset)
    if unlikely(not tag_matches(entry.write_tag if intent == INTENT_WRITE else entry.read_tag, offset, bytes)):
        return NULL
    return never_null(entry.addend + offset)


cdef inline uint8_t* locate(CPU* cpu, Insn* insn, int v, int intent) noexcept nogil:
    """Where the memory operand lies. The careful form finds that out by itself: never NULL."""
    if v & ACCESS == CAREFUL:
        return <uint8_t*>cpu
    return direct(cpu, insn.segment, effective_address(cpu, insn, v), size(v), v, intent)


cdef inline uint64_t load_at(CPU* cpu, Insn* insn, int segment, uint32_t offset, int bytes, int intent) noexcept nogil:
    """A careful load from a segment; `faulted` tells a fault."""
    cdef uint64_t linear
    cpu.position = cpu.retired - insn.remaining
    linear = segment_address(cpu, segment, offset, bytes, intent)
    if unlikely(faulted(linear)):
        return linear
    return read_linear(cpu, <uint32_t>linear, bytes, intent)


cdef inline int store_at(CPU* cpu, Insn* insn, int segment, uint32_t offset, uint32_t value, int bytes) noexcept nogil:
    """A careful store to a segment; 0 or FAULT."""
    cdef uint64_t linear
    cpu.position = cpu.retired - insn.remaining
    linear = segment_address(cpu, segment, offset, bytes, INTENT_WRITE)
    if unlikely(faulted(linear)):
        return FAULT
    return write_linear(cpu, <uint32_t>linear, value, bytes)


cdef inline int probe_at(CPU* cpu, Insn* insn, int segment, uint32_t offset, int bytes, int intent) noexcept nogil:
    """Whether a careful access would find no fault; 0 or FAULT. Nothing is marked."""
    cdef uint64_t linear
    cpu.position = cpu.retired - insn.remaining
    linear = segment_address(cpu, segment, offset, bytes, intent)
    if unlikely(faulted(linear)):
        return FAULT
    return probe_linear(cpu, <uint32_t>linear, bytes, intent)


cdef inline uint64_t load(CPU* cpu, Insn* insn, int v, uint8_t* at, int intent) noexcept nogil:
    """The memory operand; `faulted` tells a fault, which only the careful form can have."""
    if v & ACCESS == CAREFUL:
        return load_at(cpu, insn, insn.segment, effective_address(cpu, insn, v), size(v), intent)
    return load_from(at, size(v))


cdef inline int store(CPU* cpu, Insn* insn, int v, uint8_t* at, uint32_t value) noexcept nogil:
    """Store to the memory operand; 0 or, in the careful form, FAULT."""
    if v & ACCESS == CAREFUL:
        return store_at(cpu, insn, insn.segment, effective_address(cpu, insn, v), value, size(v))
    store_to(at, value, size(v))
    return 0


cdef inline uint64_t value_of(CPU* cpu, Insn* insn, int v, uint8_t offset, int intent) noexcept nogil:
    """The operand that is in memory or else in a register, without quick forms; `faulted` tells a fault."""
    if is_memory(v):
        return load(cpu, insn, v, NULL, intent)
    return get_register(cpu, offset, v)


cdef inline int set_value(CPU* cpu, Insn* insn, int v, uint8_t offset, uint32_t value) noexcept nogil:
    """Store to it; 0 or FAULT."""
    if is_memory(v):
        return store(cpu, insn, v, NULL, value)
    set_register(cpu, offset, value, v)
    return 0


cdef inline void hold_off_events(CPU* cpu) noexcept nogil:
    """After a load of SS: neither interrupt nor single step before the next instruction, which loads ESP."""
    cpu.shadow = cpu.retired
    cpu.trap_shadow = cpu.retired


# The stack.

cdef inline void set_stack_pointer(CPU* cpu, uint32_t value) noexcept nogil:
    """SP or ESP, as the size of the stack segment says."""
    cpu.gpr[ESP] = cpu.gpr[ESP] & ~cpu.stack_mask | value & cpu.stack_mask


cdef inline uint32_t stack_offset(CPU* cpu, int32_t displacement) noexcept nogil:
    """Offset in SS, this far from the stack pointer."""
    return (cpu.gpr[ESP] + displacement) & cpu.stack_mask


cdef inline uint64_t stack_read(CPU* cpu, Insn* insn, int32_t displacement, int bytes) noexcept nogil:
    return load_at(cpu, insn, SS, stack_offset(cpu, displacement), bytes, INTENT_READ)


cdef inline int stack_write(CPU* cpu, Insn* insn, int32_t displacement, uint32_t value, int bytes) noexcept nogil:
    return store_at(cpu, insn, SS, stack_offset(cpu, displacement), value, bytes)


cdef inline int stack_probe(CPU* cpu, Insn* insn, int32_t displacement, int bytes) noexcept nogil:
    return probe_at(cpu, insn, SS, stack_offset(cpu, displacement), bytes, INTENT_WRITE)


cdef inline uint32_t next_eip(Insn* insn) noexcept nogil:
    return insn.eip + insn.length
