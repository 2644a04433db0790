from libc.stdint cimport uint32_t

from x86core.state cimport CPU

cdef uint32_t doubleword(value) except? 0xFFFFFFFF
cdef uint32_t word(value) except? 0xFFFFFFFF


cdef class Registers:
    cdef CPU* cpu
    cdef int check_outside(self) except -1
