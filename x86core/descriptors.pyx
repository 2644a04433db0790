"""Descriptors in the GDT and in an LDT, which the processor reads and marks at privilege level 0."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.mmu cimport INTENT_READ, raise_exception, read_linear, write_linear
from x86core.mmu_intent cimport FAULT, faulted
from x86core.state cimport CPU, LDTR


cdef uint64_t read_system(CPU* cpu, uint32_t linear, int size) noexcept nogil:
    """1, 2 or 4 bytes of a table; `faulted` tells a fault."""
    cdef uint64_t value
    cpu.system_access = True
    value = read_linear(cpu, linear, size, INTENT_READ)
    cpu.system_access = False
    return value


cdef int write_system(CPU* cpu, uint32_t linear, uint32_t value, int size) noexcept nogil:
    """Store to a table; 0 or FAULT."""
    cdef int failed
    cpu.system_access = True
    failed = write_linear(cpu, linear, value, size)
    cpu.system_access = False
    return failed


cdef bint find_descriptor(CPU* cpu, uint32_t selector, uint32_t* at) noexcept nogil:
    """The linear address of a selector's descriptor; False when it lies beyond its table."""
    cdef uint32_t offset = selector & 0xFFF8
    if selector & 4:
        at[0] = cpu.segments[LDTR].base + offset
        return cpu.segments[LDTR].selector & 0xFFFC and offset + 7 <= cpu.segments[LDTR].limit
    at[0] = cpu.gdt_base + offset
    return offset + 7 <= cpu.gdt_limit


cdef int read_descriptor(CPU* cpu, uint32_t selector, uint32_t vector, Descriptor* descriptor) noexcept nogil:
    """The descriptor of a selector; the exception `vector` with the selector when there is none."""
    cdef uint64_t low, high
    if not find_descriptor(cpu, selector, &descriptor.at):
        return raise_exception(cpu, vector, selector & 0xFFFC)
    low = read_system(cpu, descriptor.at, 4)
    if faulted(low):
        return FAULT
    high = read_system(cpu, descriptor.at + 4, 4)
    if faulted(high):
        return FAULT
    descriptor.low = <uint32_t>low
    descriptor.high = <uint32_t>high
    return 0
