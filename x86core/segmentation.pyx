"""SegmentCache registers: their limits, their loading, and what decoded code depends on of them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.blocks cimport intern_context
from x86core.mmu cimport FAULT, INTENT_READ, INTENT_WRITE, faulted, raise_exception, read_linear, write_linear
from x86core.state cimport (CPU, CR0_PE, CS, ES, EXCEPTION_GP, EXCEPTION_NP, EXCEPTION_SS, GS,
                            MODE_CODE32, MODE_PROTECTED, MODE_STACK32, SS, SegmentCache)

# Bits of SegmentCache.access.
cdef enum:
    ACCESSED = 0x01
    WRITABLE = 0x02             # of data; of code: readable
    EXPAND_DOWN = 0x04          # of data; of code: conforming
    CODE = 0x08
    NOT_SYSTEM = 0x10
    PRESENT = 0x80
    DEFAULT32 = 0x4000
    GRANULARITY = 0x8000


cdef void set_segment(CPU* cpu, int segment, uint32_t selector, uint32_t base, uint32_t limit,
                      uint32_t access) noexcept nogil:
    """Set a segment register with its hidden part; `limit` in bytes. update_context must follow."""
    cdef SegmentCache* register = &cpu.segments[segment]
    cdef bint present = access & PRESENT != 0
    cdef bint code = access & CODE != 0
    cdef bint plain = present and not (not code and access & EXPAND_DOWN)
    register.selector = selector
    register.base = base
    register.limit = limit
    register.access = access
    register.read_limit = <int64_t>limit if plain and (not code or access & WRITABLE) else -1
    register.write_limit = <int64_t>limit if plain and not code and access & WRITABLE else -1


cdef uint64_t segment_address(CPU* cpu, int segment, uint32_t offset, int size, int intent) noexcept nogil:
    """The linear address of an access, or a fault (SDM vol. 3, 5.3 and 5.4)."""
    cdef SegmentCache* register = &cpu.segments[segment]
    cdef int64_t limit = register.write_limit if intent == INTENT_WRITE else register.read_limit
    cdef uint32_t vector = EXCEPTION_SS if segment == SS else EXCEPTION_GP
    cdef uint32_t upper
    if <int64_t>offset + size - 1 <= limit:
        return <uint32_t>(register.base + offset)
    if limit < 0 and register.access & (PRESENT | CODE | EXPAND_DOWN) == (PRESENT | EXPAND_DOWN) and (
            intent != INTENT_WRITE or register.access & WRITABLE):
        upper = 0xFFFFFFFFU if register.access & DEFAULT32 else 0xFFFF
        if offset > register.limit and <int64_t>offset + size - 1 <= upper:
            return <uint32_t>(register.base + offset)
    return <uint64_t>raise_exception(cpu, vector, 0)


cdef void update_context(CPU* cpu) noexcept nogil:
    """Recompute what decoded code depends on. Follows every change of a segment or of CR0.PE."""
    cdef uint32_t mode = 0
    cdef int segment
    cdef SegmentCache* register
    for segment in range(ES, GS + 1):
        register = &cpu.segments[segment]
        if segment != CS and register.base == 0 and register.write_limit == 0xFFFFFFFFU:
            mode |= 1 << segment
    if cpu.cr0 & CR0_PE:
        mode |= MODE_PROTECTED
    if cpu.segments[CS].access & DEFAULT32:
        mode |= MODE_CODE32
    cpu.stack_mask = 0xFFFF
    if cpu.segments[SS].access & DEFAULT32:
        mode |= MODE_STACK32
        cpu.stack_mask = 0xFFFFFFFFU
    cpu.mode = mode
    cpu.context_key = <uint64_t>intern_context(
        cpu, cpu.segments[CS].base, cpu.segments[CS].limit, mode) << 32


cdef int read_descriptor(CPU* cpu, uint32_t selector, uint64_t* descriptor) noexcept nogil:
    """The descriptor of a selector from the GDT; #GP(selector) beyond its limit."""
    cdef uint32_t at = cpu.gdt_base + (selector & 0xFFF8)
    cdef uint64_t low, high
    if selector & 4 or (selector & 0xFFF8) + 7 > cpu.gdt_limit:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    low = read_linear(cpu, at, 4, INTENT_READ)
    if faulted(low):
        return FAULT
    high = read_linear(cpu, at + 4, 4, INTENT_READ)
    if faulted(high):
        return FAULT
    descriptor[0] = low | high << 32
    return 0


cdef int set_from_descriptor(CPU* cpu, int segment, uint32_t selector, uint64_t descriptor) noexcept nogil:
    """Load the hidden part and mark the descriptor accessed."""
    cdef uint32_t low = <uint32_t>descriptor
    cdef uint32_t high = <uint32_t>(descriptor >> 32)
    cdef uint32_t base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000U
    cdef uint32_t limit = low & 0xFFFF | high & 0xF0000
    cdef uint32_t access = high >> 8 & 0xF0FF
    if access & GRANULARITY:
        limit = limit << 12 | 0xFFF
    if not access & ACCESSED:
        access |= ACCESSED
        if write_linear(cpu, cpu.gdt_base + (selector & 0xFFF8) + 5, access & 0xFF, 1):
            return FAULT
    set_segment(cpu, segment, selector, base, limit, access)
    return 0


cdef int load_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil:
    """MOV, POP or LxS to DS, ES, FS, GS or SS at privilege level 0."""
    cdef uint64_t descriptor = 0
    cdef uint32_t access
    cdef uint32_t error_code = selector & 0xFFFC
    cdef bint code
    if not cpu.cr0 & CR0_PE:
        cpu.segments[segment].selector = selector
        cpu.segments[segment].base = selector << 4
        update_context(cpu)
        return 0
    if not error_code:
        if segment == SS:
            return raise_exception(cpu, EXCEPTION_GP, 0)
        set_segment(cpu, segment, selector, 0, 0, 0)
        update_context(cpu)
        return 0
    if read_descriptor(cpu, selector, &descriptor):
        return FAULT
    access = <uint32_t>(descriptor >> 40)
    code = access & CODE != 0
    if not access & NOT_SYSTEM:
        return raise_exception(cpu, EXCEPTION_GP, error_code)
    if segment == SS:
        if code or not access & WRITABLE or selector & 3 or access & 0x60:
            return raise_exception(cpu, EXCEPTION_GP, error_code)
        if not access & PRESENT:
            return raise_exception(cpu, EXCEPTION_SS, error_code)
    else:
        if code and not access & WRITABLE:
            return raise_exception(cpu, EXCEPTION_GP, error_code)
        if not (code and access & EXPAND_DOWN) and selector & 3 > access >> 5 & 3:
            return raise_exception(cpu, EXCEPTION_GP, error_code)
        if not access & PRESENT:
            return raise_exception(cpu, EXCEPTION_NP, error_code)
    if set_from_descriptor(cpu, segment, selector, descriptor):
        return FAULT
    update_context(cpu)
    return 0


cdef int load_code_segment(CPU* cpu, uint32_t selector, uint32_t eip) noexcept nogil:
    """The far transfer to selector:eip at privilege level 0; EIP itself is left to the caller."""
    cdef uint64_t descriptor = 0
    cdef uint32_t access, limit
    cdef uint32_t error_code = selector & 0xFFFC
    if not cpu.cr0 & CR0_PE:
        if eip > cpu.segments[CS].limit:
            return raise_exception(cpu, EXCEPTION_GP, 0)
        # Limit and size of the segment stay; its type becomes that of real mode, where code is writable.
        set_segment(cpu, CS, selector, selector << 4, cpu.segments[CS].limit,
                    cpu.segments[CS].access & 0xF000 | 0x93)
        update_context(cpu)
        return 0
    if not error_code:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    if read_descriptor(cpu, selector, &descriptor):
        return FAULT
    access = <uint32_t>(descriptor >> 40)
    if access & (CODE | NOT_SYSTEM) != CODE | NOT_SYSTEM or selector & 3 or access & 0x60:
        return raise_exception(cpu, EXCEPTION_GP, error_code)
    if not access & PRESENT:
        return raise_exception(cpu, EXCEPTION_NP, error_code)
    limit = <uint32_t>descriptor & 0xFFFF | <uint32_t>(descriptor >> 32) & 0xF0000
    if descriptor >> 55 & 1:
        limit = limit << 12 | 0xFFF
    if eip > limit:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    if set_from_descriptor(cpu, CS, selector, descriptor):
        return FAULT
    update_context(cpu)
    return 0
