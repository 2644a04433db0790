"""Segment registers: their limits, their loading, and what decoded code depends on of them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.blocks cimport set_context
from x86core.descriptors cimport (ACCESSED, CODE, DEFAULT32, EXPAND_DOWN, PRESENT, WRITABLE, Descriptor, access_of,
                                  base_of, dpl_of, is_code, is_conforming, is_present, is_segment, limit_of,
                                  read_descriptor, write_system)
from x86core.mmu cimport INTENT_WRITE, raise_exception
from x86core.mmu_intent cimport FAULT
from x86core.state cimport (CPU, CR0_PE, CS, ES, EXCEPTION_GP, EXCEPTION_NP, EXCEPTION_SS, FLAG_VM, GS, MODE_CODE32,
                            MODE_CPL_SHIFT, MODE_PAGED, MODE_PROTECTED, MODE_STACK32, MODE_VIRTUAL8086, SS,
                            SegmentCache)


cdef void describe(SegmentCache* register, uint32_t selector, uint32_t base, uint32_t limit,
                   uint32_t access) noexcept nogil:
    """What a segment register holds; `limit` in bytes."""
    cdef bint present = access & PRESENT != 0
    cdef bint code = access & CODE != 0
    cdef bint plain = present and not (not code and access & EXPAND_DOWN)
    register.selector = selector
    register.base = base
    register.limit = limit
    register.access = access
    register.read_limit = <int64_t>limit if plain and (not code or access & WRITABLE) else -1
    register.write_limit = <int64_t>limit if plain and not code and access & WRITABLE else -1


cdef void set_segment(CPU* cpu, int segment, uint32_t selector, uint32_t base, uint32_t limit,
                      uint32_t access) noexcept nogil:
    """Set a segment register with its hidden part; `limit` in bytes. update_context must follow."""
    describe(&cpu.segments[segment], selector, base, limit, access)


cdef bint holds(SegmentCache* register, uint32_t offset, int size, int intent) noexcept nogil:
    """Whether an access lies in a segment and may be made (SDM vol. 3, 5.3 and 5.4)."""
    cdef int64_t limit = register.write_limit if intent == INTENT_WRITE else register.read_limit
    cdef int64_t last = <int64_t>offset + size - 1
    if last <= limit:
        return True
    return (limit < 0 and register.access & (PRESENT | CODE | EXPAND_DOWN) == (PRESENT | EXPAND_DOWN)
            and (intent != INTENT_WRITE or register.access & WRITABLE) and offset > register.limit
            and last <= (0xFFFFFFFFU if register.access & DEFAULT32 else 0xFFFF))


cdef uint64_t segment_address(CPU* cpu, int segment, uint32_t offset, int size, int intent) noexcept nogil:
    """The linear address of an access, or a fault."""
    cdef SegmentCache* register = &cpu.segments[segment]
    if holds(register, offset, size, intent):
        return <uint32_t>(register.base + offset)
    return <uint64_t>raise_exception(cpu, EXCEPTION_SS if segment == SS else EXCEPTION_GP, 0)


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
    if cpu.eflags & FLAG_VM:
        mode |= MODE_VIRTUAL8086
    if cpu.paging:
        mode |= MODE_PAGED
    mode |= cpu.cpl << MODE_CPL_SHIFT
    cpu.mode = mode
    set_context(cpu, cpu.segments[CS].base, cpu.segments[CS].limit, mode)


cdef int mark_accessed(CPU* cpu, Descriptor* descriptor) noexcept nogil:
    """Set the accessed bit of a descriptor where it lies; 0 or FAULT."""
    if access_of(descriptor) & ACCESSED:
        return 0
    descriptor.high |= ACCESSED << 8
    return write_system(cpu, descriptor.at + 5, access_of(descriptor) & 0xFF, 1)


cdef void set_described(CPU* cpu, int segment, uint32_t selector, Descriptor* descriptor) noexcept nogil:
    """Load a segment register with its hidden part. update_context must follow."""
    set_segment(cpu, segment, selector, base_of(descriptor), limit_of(descriptor), access_of(descriptor))


cdef void set_real_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil:
    """As in real and virtual-8086 mode: the base follows from the selector. update_context must follow."""
    cdef SegmentCache* register = &cpu.segments[segment]
    if cpu.eflags & FLAG_VM:
        set_segment(cpu, segment, selector, selector << 4, 0xFFFF, 0xF3)
    elif segment == CS:
        # Limit and size of the segment stay; its type becomes that of real mode, where code is writable.
        set_segment(cpu, CS, selector, selector << 4, register.limit, register.access & 0xF000 | 0x93)
    else:
        register.selector = selector
        register.base = selector << 4


cdef int check_stack_segment(CPU* cpu, uint32_t selector, uint32_t cpl, uint32_t vector,
                             Descriptor* descriptor) noexcept nogil:
    """Read a descriptor for SS at a privilege level; `vector` is what is raised, but #SS for one not present."""
    cdef uint32_t error_code = selector & 0xFFFC
    if not error_code:
        return raise_exception(cpu, vector, 0)
    if read_descriptor(cpu, selector, vector, descriptor):
        return FAULT
    if (not is_segment(descriptor) or is_code(descriptor) or not descriptor.high >> 8 & WRITABLE
            or selector & 3 != cpl or dpl_of(descriptor) != cpl):
        return raise_exception(cpu, vector, error_code)
    if not is_present(descriptor):
        return raise_exception(cpu, EXCEPTION_SS, error_code)
    return 0


cdef int check_data_segment(CPU* cpu, uint32_t selector, uint32_t vector, Descriptor* descriptor) noexcept nogil:
    """Read a descriptor for DS, ES, FS or GS."""
    cdef uint32_t error_code = selector & 0xFFFC
    if read_descriptor(cpu, selector, vector, descriptor):
        return FAULT
    if not is_segment(descriptor) or is_code(descriptor) and not descriptor.high >> 8 & WRITABLE:
        return raise_exception(cpu, vector, error_code)
    if not (is_code(descriptor) and is_conforming(descriptor)) and max(selector & 3, cpu.cpl) > dpl_of(descriptor):
        return raise_exception(cpu, vector, error_code)
    if not is_present(descriptor):
        return raise_exception(cpu, EXCEPTION_NP, error_code)
    return 0


cdef int load_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil:
    """MOV, POP or LxS to DS, ES, FS, GS or SS."""
    cdef Descriptor descriptor
    if has_real_segments(cpu):
        set_real_segment(cpu, segment, selector)
    elif segment != SS and not selector & 0xFFFC:
        set_segment(cpu, segment, selector, 0, 0, 0)
    else:
        if segment == SS:
            if check_stack_segment(cpu, selector, cpu.cpl, EXCEPTION_GP, &descriptor):
                return FAULT
        elif check_data_segment(cpu, selector, EXCEPTION_GP, &descriptor):
            return FAULT
        if mark_accessed(cpu, &descriptor):
            return FAULT
        set_described(cpu, segment, selector, &descriptor)
    update_context(cpu)
    return 0


cdef int check_code_segment(CPU* cpu, uint32_t selector, uint32_t cpl, uint32_t vector,
                            Descriptor* descriptor) noexcept nogil:
    """Whether a descriptor that was read is code which may be executed at a privilege level."""
    cdef uint32_t error_code = selector & 0xFFFC
    if not is_segment(descriptor) or not is_code(descriptor) or dpl_of(descriptor) > cpl or (
            dpl_of(descriptor) != cpl and not is_conforming(descriptor)):
        return raise_exception(cpu, vector, error_code)
    if not is_present(descriptor):
        return raise_exception(cpu, EXCEPTION_NP, error_code)
    return 0
