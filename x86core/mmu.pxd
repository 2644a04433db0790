from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from x86core.mmu_intent cimport FAULT, INTENT_FETCH, INTENT_READ, INTENT_WRITE, faulted
from x86core.state cimport CPU

cdef uint64_t translate(CPU* cpu, uint32_t linear, int intent) noexcept nogil
cdef int probe_linear(CPU* cpu, uint32_t linear, int size, int intent) noexcept nogil
cdef uint64_t read_linear(CPU* cpu, uint32_t linear, int size, int intent) noexcept nogil
cdef int write_linear(CPU* cpu, uint32_t linear, uint32_t value, int size) noexcept nogil
cdef int write_scattered(CPU* cpu, uint32_t linear, uint64_t value, int size) noexcept nogil
cdef uint8_t* locate_store(CPU* cpu, uint32_t linear, int size) noexcept nogil
cdef void finish_store(CPU* cpu, int size) noexcept nogil
cdef uint8_t* locate_span(CPU* cpu, uint32_t linear, int intent) noexcept nogil
cdef bint device_answered(CPU* cpu, uint64_t* value) noexcept nogil


cdef inline int raise_exception(CPU* cpu, uint32_t vector, uint32_t error_code) noexcept nogil:
    cpu.exception = vector
    cpu.error_code = error_code
    return FAULT


cdef inline uint32_t load_from(uint8_t* at, int size) noexcept nogil:
    """One host load of 1, 2 or 4 bytes."""
    if size == 1:
        return at[0]
    if size == 2:
        return (<uint16_t*>at)[0]
    return (<uint32_t*>at)[0]


cdef inline void store_to(uint8_t* at, uint32_t value, int size) noexcept nogil:
    """One host store of 1, 2 or 4 bytes."""
    if size == 1:
        at[0] = <uint8_t>value
    elif size == 2:
        (<uint16_t*>at)[0] = <uint16_t>value
    else:
        (<uint32_t*>at)[0] = value
