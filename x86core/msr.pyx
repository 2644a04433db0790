"""Model-specific registers, and the time-stamp counter."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.apic cimport write_apic_base
from x86core.apic_timer cimport follow_tsc, notice_timer, set_tsc_deadline
from x86core.clock cimport guest_time
from x86core.intrinsics cimport atomic_store
from x86core.mmu cimport raise_exception
from x86core.state cimport CPU, EAX, EDX, EXCEPTION_GP, FEATURE_WAITPKG

cdef enum:
    IA32_TIME_STAMP_COUNTER = 0x10
    IA32_APIC_BASE = 0x1B
    IA32_UMWAIT_CONTROL = 0xE1
    IA32_MISC_ENABLE = 0x1A0
    IA32_TSC_DEADLINE = 0x6E0
    UMWAIT_RESERVED = 2


cdef uint64_t timestamp(CPU* cpu) noexcept nogil:
    """A tick is a nanosecond; before a write to it the same on every vCPU of a machine."""
    return <uint64_t>guest_time(cpu) + cpu.tsc_offset


cdef int read_msr(CPU* cpu, uint32_t index) noexcept nogil:
    """RDMSR: into EDX:EAX; 0, or FAULT with #GP(0) for one that does not exist."""
    cdef uint64_t value
    notice_timer(cpu)
    if index == IA32_TIME_STAMP_COUNTER:
        value = timestamp(cpu)
    elif index == IA32_APIC_BASE:
        value = cpu.apic.base
    elif index == IA32_UMWAIT_CONTROL and cpu.features & FEATURE_WAITPKG:
        value = cpu.umwait_control
    elif index == IA32_MISC_ENABLE:
        value = cpu.misc_enable
    elif index == IA32_TSC_DEADLINE:
        value = cpu.apic.tsc_deadline
    else:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    cpu.gpr[EAX] = <uint32_t>value
    cpu.gpr[EDX] = <uint32_t>(value >> 32)
    return 0


cdef int write_msr(CPU* cpu, uint32_t index, uint64_t value) noexcept nogil:
    """WRMSR; 0, or FAULT with #GP(0) for one that does not exist or a bit that is reserved."""
    notice_timer(cpu)
    if index == IA32_TIME_STAMP_COUNTER:
        cpu.tsc_offset += value - timestamp(cpu)
        follow_tsc(cpu)
    elif index == IA32_APIC_BASE:
        if write_apic_base(cpu, value):
            return raise_exception(cpu, EXCEPTION_GP, 0)
    elif index == IA32_UMWAIT_CONTROL and cpu.features & FEATURE_WAITPKG:
        if value >> 32 or value & UMWAIT_RESERVED:
            return raise_exception(cpu, EXCEPTION_GP, 0)
        cpu.umwait_control = <uint32_t>value
    elif index == IA32_MISC_ENABLE and not value & ~<uint64_t>MISC_ENABLE_MONITOR:
        cpu.misc_enable = value
    elif index == IA32_TSC_DEADLINE:
        set_tsc_deadline(cpu, value)
    else:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    atomic_store(&cpu.stop_at, 0)   # the timer may have been set
    return 0
