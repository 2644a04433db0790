"""Which maskable interrupt a vCPU would take next: the VMM's, which come in at LINT0, or the local APIC's.

What is asked here may be asked from any thread; only the vCPU itself takes an interrupt.
Source: SDM vol. 3, 11.8.3 (task and processor priorities) and 11.8.4 (fixed interrupts).
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.apic_registers cimport (APIC_LVT_ERROR, APIC_LVT_LINT0, APIC_LVT_TIMER, APIC_SVR, APIC_TPR, BASE_ENABLED,
                                     LVT_EXTINT, LVT_MASKED, LVT_MODE, RECEIVE_ILLEGAL_VECTOR, SVR_ENABLED,
                                     apic_register)
from x86core.clock cimport guest_time
from x86core.intrinsics cimport NO_LIMIT, atomic_and, atomic_load, atomic_or, leading_zeros64, likely
from x86core.state cimport CPU, EXIT_IOAPIC_EOI


cdef int highest(const void* vectors) noexcept nogil:
    """The highest of 256 vectors whose bit is set, -1 when none is."""
    cdef uint64_t* words = <uint64_t*>vectors
    cdef uint64_t word
    cdef int index
    for index in range(3, -1, -1):
        word = atomic_load(&words[index])
        if word:
            return index * 64 + 63 - leading_zeros64(word)
    return -1


cdef bint apic_enabled(CPU* cpu) noexcept nogil:
    """Whether there is a local APIC: by IA32_APIC_BASE."""
    return cpu.apic.base & BASE_ENABLED != 0


cdef bint apic_software_enabled(CPU* cpu) noexcept nogil:
    """Whether it accepts interrupts: by the spurious-interrupt vector register too."""
    return apic_enabled(cpu) and apic_register(cpu, APIC_SVR)[0] & SVR_ENABLED != 0


cdef int processor_priority(CPU* cpu) noexcept nogil:
    """PPR: the task's priority, or that of the interrupt in service if its class is higher."""
    cdef int task = apic_register(cpu, APIC_TPR)[0]
    cdef int service = highest(cpu.apic.isr)
    if service >> 4 > task >> 4:
        return service & 0xF0
    return task


cdef int due_timer_vector(CPU* cpu) noexcept nogil:
    """Of a timer that is due and has not been noticed yet; -1 when there is none."""
    cdef int64_t timer_at = atomic_load(&cpu.apic.timer_at)
    cdef uint32_t entry = apic_register(cpu, APIC_LVT_TIMER)[0]
    if likely(timer_at == NO_LIMIT) or entry & LVT_MASKED or guest_time(cpu) < timer_at:
        return -1
    return entry & 0xFF


cdef int64_t timer_interrupt_at(CPU* cpu) noexcept nogil:
    """Guest time at which the timer brings an interrupt above the present priority; NO_LIMIT: never."""
    cdef uint32_t entry = apic_register(cpu, APIC_LVT_TIMER)[0]
    if (not apic_software_enabled(cpu) or entry & LVT_MASKED
            or <int>(entry & 0xFF) >> 4 <= processor_priority(cpu) >> 4):
        return NO_LIMIT
    return atomic_load(&cpu.apic.timer_at)


cdef int apic_candidate(CPU* cpu, int timer) noexcept nogil:
    """The vector that the APIC would have the vCPU take, -1 when there is none above its priority.

    `timer`: the vector of a timer that counts as if it stood in IRR, or -1.
    """
    cdef int vector
    if not apic_software_enabled(cpu):
        return -1
    vector = highest(cpu.apic.irr)
    if timer > vector:
        vector = timer
    if vector >> 4 <= processor_priority(cpu) >> 4:
        return -1
    return vector


cdef bint accepts_external(CPU* cpu) noexcept nogil:
    """Whether LINT0 lets the VMM's interrupts in."""
    cdef uint32_t entry = apic_register(cpu, APIC_LVT_LINT0)[0]
    return not apic_enabled(cpu) or not entry & LVT_MASKED and entry & LVT_MODE == LVT_EXTINT


cdef bint window_requested(CPU* cpu) noexcept nogil:
    """Whether the VMM has an interrupt that it acknowledges only when it would be taken, and LINT0 lets it in."""
    return cpu.run.request_interrupt_window and accepts_external(cpu)


cdef int external_candidate(CPU* cpu) noexcept nogil:
    """The VMM's highest vector; -1 when there is none, or LINT0 does not let it in."""
    return highest(cpu.interrupts) if accepts_external(cpu) else -1


cdef bint interrupt_pending(CPU* cpu) noexcept nogil:
    """Whether there is one to take as soon as IF allows it."""
    return external_candidate(cpu) >= 0 or apic_candidate(cpu, due_timer_vector(cpu)) >= 0


cdef int pending_vector(CPU* cpu) noexcept nogil:
    """The vector that it is; -1 when there is none."""
    cdef int vector = external_candidate(cpu)
    return vector if vector >= 0 else apic_candidate(cpu, due_timer_vector(cpu))


cdef bint request_vector(CPU* cpu, uint32_t vector, bint level) noexcept nogil:
    """Set a bit of IRR, and in TMR whether it is a level. Whoever does so at another vCPU posts it behind that.

    Vectors below 16 are errors; False for them.
    """
    cdef uint64_t bit = <uint64_t>1 << (vector & 63)
    if vector < 16:
        report_error(cpu, RECEIVE_ILLEGAL_VECTOR)
        return False
    if level:                       # before it can be taken, and ended
        atomic_or(&cpu.apic.tmr[vector >> 6], bit)
    else:
        atomic_and(&cpu.apic.tmr[vector >> 6], ~bit)
    atomic_or(&cpu.apic.irr[vector >> 6], bit)
    return True


cdef void report_error(CPU* cpu, uint32_t error) noexcept nogil:
    """Note it for ESR; the first of its kind since a write to that register interrupts, if LVT error lets it."""
    cdef uint32_t entry = apic_register(cpu, APIC_LVT_ERROR)[0]
    if not atomic_or(&cpu.apic.errors, error) & error and not entry & LVT_MASKED and entry & 0xFF >= 16:
        request_vector(cpu, entry & 0xFF, False)


cdef void end_interrupt(CPU* cpu) noexcept nogil:
    """A write to EOI. Of a level the VMM is told, whose I/O APIC waits for it."""
    cdef int vector = highest(cpu.apic.isr)
    cdef uint64_t bit
    if vector < 0:
        return
    bit = <uint64_t>1 << (vector & 63)
    atomic_and(&cpu.apic.isr[vector >> 6], ~bit)
    if atomic_load(&cpu.apic.tmr[vector >> 6]) & bit:
        atomic_or(&cpu.apic.eoi[vector >> 6], bit)


cdef bint eoi_pending(CPU* cpu) noexcept nogil:
    """Whether the VMM is to be told of an EOI."""
    return highest(cpu.apic.eoi) >= 0


cdef int tell_eoi(CPU* cpu) noexcept nogil:
    """Leave with one of the EOIs that the VMM is to be told of."""
    cdef int vector = highest(cpu.apic.eoi)
    atomic_and(&cpu.apic.eoi[vector >> 6], ~(<uint64_t>1 << (vector & 63)))
    cpu.run.exit.eoi.vector = vector
    return EXIT_IOAPIC_EOI


cdef int take_interrupt(CPU* cpu) noexcept nogil:
    """Acknowledge an interrupt: the vector to deliver; -1 when there is none but of a timer not noticed yet."""
    cdef int vector = external_candidate(cpu)
    cdef uint64_t bit
    if vector >= 0:
        atomic_and(&cpu.interrupts[vector >> 6], ~(<uint64_t>1 << (vector & 63)))
        return vector
    vector = apic_candidate(cpu, -1)
    if vector >= 0:
        bit = <uint64_t>1 << (vector & 63)
        atomic_and(&cpu.apic.irr[vector >> 6], ~bit)
        atomic_or(&cpu.apic.isr[vector >> 6], bit)
    return vector
