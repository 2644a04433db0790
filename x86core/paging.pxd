from libc.stdint cimport uint32_t, uint64_t

from x86core.state cimport CPU

# What the TLB may be told of a page, for the privilege level at which it was looked up.
cdef enum:
    RIGHT_WRITE = 1             # may be stored to, and is dirty already
    RIGHT_USER = 2              # privilege level 3 may do all of that too
    RIGHT_GLOBAL = 4
    RIGHT_LARGE = 8             # part of a 4 MiB page

cdef uint64_t look_up(CPU* cpu, uint32_t linear, uint64_t* entries) noexcept nogil
cdef uint64_t inspect(CPU* cpu, uint32_t linear, int* rights) noexcept nogil
cdef int probe(CPU* cpu, uint32_t first, uint32_t last, int intent) noexcept nogil
cdef uint64_t walk(CPU* cpu, uint32_t linear, int intent, int* rights) noexcept nogil
cdef void set_cpl(CPU* cpu, uint32_t cpl) noexcept nogil
cdef void update_alignment(CPU* cpu) noexcept nogil
cdef void flush_translations(CPU* cpu, bint globals_too) noexcept nogil
cdef void flush_translation(CPU* cpu, uint32_t linear) noexcept nogil
