"""Guest time: nanoseconds since the machine's memory was made. The TSC and the APIC timer follow it."""
from libc.stdint cimport int64_t

from x86core.intrinsics cimport monotonic_nanoseconds
from x86core.state cimport RAM


cdef inline int64_t guest_time(RAM* ram) noexcept nogil:
    return <int64_t>(monotonic_nanoseconds() - ram.epoch)
