"""Whether a vCPU has a reason to go on: the one question of whoever sleeps, wakes or watches.

May be asked from any thread; the answer is exact while the vCPU is outside the guest.
"""
from libc.stdint cimport int64_t, uint64_t

from x86core.clock cimport guest_time
from x86core.interrupts cimport eoi_pending, interrupt_pending, timer_interrupt_at, window_requested
from x86core.intrinsics cimport NO_LIMIT, atomic_load
from x86core.state cimport (ATTENTION_INIT, ATTENTION_KICK, ATTENTION_NMI, ATTENTION_SIPI, CPU, FLAG_IF,
                            MONITOR_SCANNED, MONITOR_STATE, MONITOR_WAITING, MP_STATE_HALTED, MP_STATE_RUNNABLE,
                            MWAIT_ADAPTIVE, MWAIT_FAULT, MWAIT_PASSTHROUGH, MWAIT_SCAN)


cdef bint event_pending(CPU* cpu, bint masked_interrupts_count) noexcept nogil:
    """Whether an interrupt, an NMI or INIT ends a wait."""
    cdef uint64_t attention = atomic_load(&cpu.attention)
    if attention & ATTENTION_INIT:
        return True
    if (cpu.nmi_pending or attention & ATTENTION_NMI) and not cpu.nmi_blocked:
        return True
    return (masked_interrupts_count or cpu.eflags & FLAG_IF != 0) and interrupt_pending(cpu)


cdef bint is_waiting_state(CPU* cpu) noexcept nogil:
    """Whether the vCPU is in HLT or MWAIT or not started: in one of the states that need a reason to go on."""
    return cpu.mp_state != MP_STATE_RUNNABLE or cpu.in_mwait


cdef bint is_runnable(CPU* cpu) noexcept nogil:
    """Whether run() would go on in the guest, or leave it, instead of waiting."""
    cdef uint64_t attention = atomic_load(&cpu.attention)
    cdef bint masked_interrupts_count = cpu.in_mwait and cpu.masked_interrupts_wake
    if not is_waiting_state(cpu) or attention & ATTENTION_KICK or cpu.run.immediate_exit or eoi_pending(cpu):
        return True
    if cpu.mp_state != MP_STATE_RUNNABLE and cpu.mp_state != MP_STATE_HALTED:
        return attention & (ATTENTION_INIT | ATTENTION_SIPI) != 0
    if event_pending(cpu, masked_interrupts_count):
        return True
    if window_requested(cpu) and (masked_interrupts_count or cpu.eflags & FLAG_IF):
        return True
    return cpu.in_mwait and mwait_is_over(cpu)


cdef bint mwait_is_over(CPU* cpu) noexcept nogil:
    """By a store to the monitored line, or by a time limit."""
    cdef uint64_t monitor
    if cpu.wait_policy in (MWAIT_FAULT, MWAIT_ADAPTIVE, MWAIT_PASSTHROUGH, MWAIT_SCAN):
        monitor = atomic_load(&cpu.ram.monitors[cpu.index])
        if monitor & MONITOR_STATE != MONITOR_WAITING:
            return True
        if monitor & MONITOR_SCANNED and line_changed(cpu, monitor & ~<uint64_t>63):
            return True
    return cpu.wait_until != NO_LIMIT and guest_time(cpu) >= cpu.wait_until


cdef bint line_changed(CPU* cpu, uint64_t line) noexcept nogil:
    """Whether a line differs from what the vCPU's MONITOR found there (policy scan)."""
    cdef uint64_t* now = <uint64_t*>(cpu.ram.bytes + line)
    cdef int part
    for part in range(8):
        if atomic_load(&now[part]) != cpu.snapshot[part]:
            return True
    return False


cdef int64_t next_deadline(CPU* cpu) noexcept nogil:
    """Guest time at which the wait is over without anybody's doing; NO_LIMIT: never.

    Once it is behind us, the vCPU is runnable: a sleep cut short by it is never begun again in vain.
    """
    cdef int64_t deadline = NO_LIMIT
    if cpu.mp_state != MP_STATE_RUNNABLE and cpu.mp_state != MP_STATE_HALTED:
        return NO_LIMIT             # not started: only INIT and SIPI count
    if cpu.eflags & FLAG_IF or cpu.in_mwait and cpu.masked_interrupts_wake:
        deadline = timer_interrupt_at(cpu)
    if cpu.in_mwait and cpu.wait_until < deadline:
        deadline = cpu.wait_until
    return deadline
