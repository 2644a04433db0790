from libc.stdint cimport uint64_t

from x86core.state cimport CPU, RAM, Page

cdef void shootdown(RAM* ram, CPU* by) noexcept nogil
cdef void answer_shootdown(CPU* cpu) noexcept nogil
cdef bint everybody_answered(RAM* ram, uint64_t number) noexcept nogil
cdef void lock_page(Page* page) noexcept nogil
cdef void unlock_page(Page* page) noexcept nogil
