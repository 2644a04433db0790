from x86core.state cimport CPU

cdef int enter_once(CPU* cpu) noexcept nogil
cdef void complete_access(CPU* cpu) noexcept nogil
cdef bint may_enter(CPU* cpu) noexcept nogil
cdef void note_exit(CPU* cpu, int reason) noexcept nogil
