"""Model-specific registers, and the time-stamp counter."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.intrinsics cimport monotonic_nanoseconds
from x86core.mmu cimport raise_exception
from x86core.state cimport CPU, EAX, EDX, EXCEPTION_GP

cdef enum:
    IA32_TIME_STAMP_COUNTER = 0x10
    IA32_MISC_ENABLE = 0x1A0


cdef uint64_t timestamp(CPU* cpu) noexcept nogil:
    """A tick is a nanosecond; before a write to it the same on every vCPU of a machine."""
    return monotonic_nanoseconds() - cpu.ram.epoch + cpu.tsc_offset


cdef int read_msr(CPU* cpu, uint32_t index) noexcept nogil:
    """RDMSR: into EDX:EAX; 0, or FAULT with #GP(0) for one that does not exist."""
    cdef uint64_t value
    if index == IA32_TIME_STAMP_COUNTER:
        value = timestamp(cpu)
    elif index == IA32_MISC_ENABLE:
        value = cpu.misc_enable
    else:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    cpu.gpr[EAX] = <uint32_t>value
    cpu.gpr[EDX] = <uint32_t>(value >> 32)
    return 0


cdef int write_msr(CPU* cpu, uint32_t index, uint64_t value) noexcept nogil:
    """WRMSR; 0, or FAULT with #GP(0) for one that does not exist or a bit that is reserved."""
    if index == IA32_TIME_STAMP_COUNTER:
        cpu.tsc_offset += value - timestamp(cpu)
        return 0
    if index == IA32_MISC_ENABLE and not value & ~<uint64_t>MISC_ENABLE_MONITOR:
        cpu.misc_enable = value
        return 0
    return raise_exception(cpu, EXCEPTION_GP, 0)
