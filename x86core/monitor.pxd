from libc.stdint cimport uint64_t

from x86core.state cimport CPU, RAM

cdef void monitor_arm(CPU* cpu, uint64_t physical) noexcept nogil
cdef void monitor_disarm(CPU* cpu) noexcept nogil
cdef bint monitor_tables(CPU* cpu, uint64_t directory, uint64_t table) noexcept nogil
cdef void monitor_translation_changed(CPU* cpu) noexcept nogil
cdef bint monitor_wait_begin(CPU* cpu, uint64_t scanned) noexcept nogil
cdef uint64_t monitor_wait_end(CPU* cpu) noexcept nogil
cdef void monitor_store(RAM* ram, CPU* writer, uint64_t physical, uint64_t size) noexcept nogil
