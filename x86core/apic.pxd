from libc.stdint cimport uint32_t, uint64_t

from x86core.state cimport CPU, RAM

cdef enum:
    DEFAULT_APIC_BASE = 0xFEE00000U

cdef int send_message(RAM* ram, uint32_t address, uint32_t data) noexcept nogil
cdef void post_init(CPU* target) noexcept nogil
cdef void reset_apic(CPU* cpu) noexcept nogil
cdef bint apic_holds(CPU* cpu, uint64_t physical) noexcept nogil
cdef uint32_t apic_read(CPU* cpu, uint32_t offset, int size) noexcept nogil
cdef void apic_write(CPU* cpu, uint32_t offset, uint32_t value) noexcept nogil
cdef uint32_t apic_value(CPU* cpu, uint32_t offset) noexcept nogil
cdef int write_apic_base(CPU* cpu, uint64_t value) noexcept nogil
