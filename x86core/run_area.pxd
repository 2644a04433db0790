from x86core.memory cimport Memory
from x86core.registers cimport Registers


cdef class RunArea(Registers):
    cdef readonly Memory memory
    cdef object run_record
