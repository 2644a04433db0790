from libc.stdint cimport uint32_t

from x86core.state cimport CPU, GuestDebug, TLBEntry

cdef GuestDebug* make_debug(breakpoints, watchpoints) except NULL
cdef void offer_debug(CPU* cpu, GuestDebug* debug) noexcept nogil
cdef void adopt_debug(CPU* cpu) noexcept nogil
cdef void forget_debug(CPU* cpu) noexcept nogil
cdef bint is_breakpoint(CPU* cpu, uint32_t linear) noexcept nogil
cdef bint is_passed(CPU* cpu, uint32_t linear) noexcept nogil
cdef void hide_watched(CPU* cpu, TLBEntry* entry, uint32_t linear) noexcept nogil
cdef int notice_access(CPU* cpu, uint32_t linear, int size, uint32_t kind) noexcept nogil
cdef bint begin_alone(CPU* cpu) noexcept nogil
cdef void take_watch_hit(CPU* cpu) noexcept nogil
cdef void describe_debug_exit(CPU* cpu) noexcept nogil
