from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.state cimport CPU, SegmentCache

cdef uint64_t segment_address(CPU* cpu, int segment, uint32_t offset, int size, int intent) noexcept nogil
cdef void set_segment(CPU* cpu, int segment, uint32_t selector, uint32_t base, uint32_t limit, uint32_t access) noexcept nogil
cdef int load_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil
cdef int load_code_segment(CPU* cpu, uint32_t selector, uint32_t eip) noexcept nogil
cdef int read_descriptor(CPU* cpu, uint32_t selector, uint64_t* descriptor) noexcept nogil
cdef void update_context(CPU* cpu) noexcept nogil
