from x86core.observed cimport Observed


cdef class VCPU(Observed):
    pass
