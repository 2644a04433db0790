from x86core.saved_vcpu cimport SavedVCPU
from x86core.state cimport CPU

cdef int check_saved_vcpu(CPU* cpu, const SavedVCPU* saved) except -1
