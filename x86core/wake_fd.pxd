from x86core.state cimport CPU

cdef void update_wake_fd(CPU* cpu) noexcept nogil
cdef int open_wake_fd(CPU* cpu) except -1
cdef void close_wake_fd(CPU* cpu) noexcept
