"""Segment and gate descriptors: their parts and where they lie (SDM vol. 3, 3.4.5 and 3.5)."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.state cimport CPU

# Bits of SegmentCache.access, which is bits 8 to 23 of a descriptor's upper half without the limit's part.
cdef enum:
    ACCESSED = 0x01
    WRITABLE = 0x02             # of data; of code: readable
    EXPAND_DOWN = 0x04          # of data; of code: conforming
    CONFORMING = 0x04
    CODE = 0x08
    NOT_SYSTEM = 0x10
    DPL = 0x60
    PRESENT = 0x80
    DEFAULT32 = 0x4000
    GRANULARITY = 0x8000

# Types of system descriptors; bit 3 tells those of 32 bits.
cdef enum SystemType:
    TSS16 = 1
    LDT = 2
    TSS_BUSY = 2                # a bit of the types of TSSs
    CALL_GATE16 = 4
    TASK_GATE = 5
    INTERRUPT_GATE16 = 6
    TRAP_GATE16 = 7
    TSS32 = 9
    CALL_GATE32 = 12
    INTERRUPT_GATE32 = 14
    TRAP_GATE32 = 15

ctypedef struct Descriptor:
    uint32_t low
    uint32_t high
    uint32_t at                 # linear address


cdef int read_descriptor(CPU* cpu, uint32_t selector, uint32_t vector, Descriptor* descriptor) noexcept nogil
cdef uint64_t read_system(CPU* cpu, uint32_t linear, int size) noexcept nogil
cdef int write_system(CPU* cpu, uint32_t linear, uint32_t value, int size) noexcept nogil
cdef bint find_descriptor(CPU* cpu, uint32_t selector, uint32_t* at) noexcept nogil


cdef inline uint32_t base_of(Descriptor* descriptor) noexcept nogil:
    return descriptor.low >> 16 | (descriptor.high & 0xFF) << 16 | descriptor.high & 0xFF000000U


cdef inline uint32_t limit_of(Descriptor* descriptor) noexcept nogil:
    """In bytes."""
    cdef uint32_t limit = descriptor.low & 0xFFFF | descriptor.high & 0xF0000
    return limit << 12 | 0xFFF if descriptor.high & GRANULARITY << 8 else limit


cdef inline uint32_t access_of(Descriptor* descriptor) noexcept nogil:
    return descriptor.high >> 8 & 0xF0FF


cdef inline uint32_t dpl_of(Descriptor* descriptor) noexcept nogil:
    return descriptor.high >> 13 & 3


cdef inline bint is_present(Descriptor* descriptor) noexcept nogil:
    return descriptor.high >> 15 & 1


cdef inline bint is_segment(Descriptor* descriptor) noexcept nogil:
    """Of code or data, and not a system descriptor."""
    return descriptor.high >> 12 & 1


cdef inline bint is_code(Descriptor* descriptor) noexcept nogil:
    return descriptor.high >> 11 & 3 == 3


cdef inline bint is_conforming(Descriptor* descriptor) noexcept nogil:
    """Of a code segment."""
    return descriptor.high >> 10 & 1


cdef inline int system_type(Descriptor* descriptor) noexcept nogil:
    return descriptor.high >> 8 & 15


cdef inline uint32_t gate_selector(Descriptor* descriptor) noexcept nogil:
    return descriptor.low >> 16


cdef inline uint32_t gate_offset(Descriptor* descriptor) noexcept nogil:
    return descriptor.low & 0xFFFF | (descriptor.high & 0xFFFF0000U if system_type(descriptor) & 8 else 0)
