from x86core.run_area cimport RunArea


cdef class Observed(RunArea):
    pass
