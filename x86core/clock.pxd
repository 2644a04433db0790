"""Guest time, in nanoseconds. The TSC and the APIC timer follow it.

Wall time is the host's since the machine's memory was made. Virtual time goes on by a fixed amount with each
instruction; whoever runs the vCPUs in turn sets it (lockstep.pyx).
"""
from libc.stdint cimport int64_t

from x86core.intrinsics cimport monotonic_nanoseconds, unlikely
from x86core.state cimport CPU


cdef inline int64_t guest_time(CPU* cpu) noexcept nogil:
    if unlikely(cpu.ram.virtual_time):
        return cpu.virtual_base + cpu.retired * cpu.ram.instruction_ns
    return <int64_t>(monotonic_nanoseconds() - cpu.ram.epoch)


cdef inline void set_virtual_time(CPU* cpu, int64_t time) noexcept nogil:
    cpu.virtual_base = time - cpu.retired * cpu.ram.instruction_ns
