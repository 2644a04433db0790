from libc.stdint cimport uint32_t, uint64_t

from x86core.descriptors cimport Descriptor
from x86core.state cimport CPU, CR0_PE, FLAG_VM, SegmentCache

cdef void describe(SegmentCache* register, uint32_t selector, uint32_t base, uint32_t limit, uint32_t access) noexcept nogil
cdef void set_segment(CPU* cpu, int segment, uint32_t selector, uint32_t base, uint32_t limit, uint32_t access) noexcept nogil
cdef bint holds(SegmentCache* register, uint32_t offset, int size, int intent) noexcept nogil
cdef uint64_t segment_address(CPU* cpu, int segment, uint32_t offset, int size, int intent) noexcept nogil
cdef void update_context(CPU* cpu) noexcept nogil
cdef int mark_accessed(CPU* cpu, Descriptor* descriptor) noexcept nogil
cdef void set_described(CPU* cpu, int segment, uint32_t selector, Descriptor* descriptor) noexcept nogil
cdef void set_real_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil
cdef int check_stack_segment(CPU* cpu, uint32_t selector, uint32_t cpl, uint32_t vector, Descriptor* descriptor) noexcept nogil
cdef int check_data_segment(CPU* cpu, uint32_t selector, uint32_t vector, Descriptor* descriptor) noexcept nogil
cdef int load_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil
cdef int check_code_segment(CPU* cpu, uint32_t selector, uint32_t cpl, uint32_t vector, Descriptor* descriptor) noexcept nogil


cdef inline bint has_real_segments(CPU* cpu) noexcept nogil:
    """Real or virtual-8086 mode: selectors are paragraphs."""
    return not cpu.cr0 & CR0_PE or cpu.eflags & FLAG_VM
