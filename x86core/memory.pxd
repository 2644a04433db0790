from libc.stdint cimport uint64_t

from x86core.state cimport CPU, RAM

cdef void after_store(RAM* ram, CPU* writer, uint64_t physical, uint64_t size) noexcept nogil


cdef class Memory:
    cdef RAM* ram
    cdef Py_ssize_t shape[1]
