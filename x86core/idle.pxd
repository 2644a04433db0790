from x86core.state cimport CPU

cdef int wait_for_interrupt(CPU* cpu) noexcept nogil
cdef int wait_for_store(CPU* cpu, bint masked_interrupts_wake) noexcept nogil
cdef int resume_wait(CPU* cpu) noexcept nogil
cdef void enter_guest(CPU* cpu) noexcept nogil
cdef void leave_guest(CPU* cpu) noexcept nogil
