"""The local APIC's timer: one-shot, periodic, or at a value of the TSC (SDM vol. 3, 11.5.4).

It counts nanoseconds, as CPUID leaf 15h says of the crystal, divided by the divide configuration. Nobody sends an
interrupt when it is due: a sleeping vCPU limits its sleep, and a running one looks at the clock now and then.
How soon again follows from the time left, at the speed of a slow guest, so that a look is never much too late.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.apic_registers cimport (APIC_DIVIDE, APIC_INITIAL_COUNT, APIC_LVT_TIMER, LVT_MASKED, TIMER_MODE,
                                     TIMER_PERIODIC, TIMER_TSC_DEADLINE, apic_register)
from x86core.clock cimport guest_time
from x86core.interrupts cimport apic_software_enabled, request_vector
from x86core.intrinsics cimport NO_LIMIT, atomic_store, likely
from x86core.state cimport CPU

cdef enum:
    SLOW_INSTRUCTION = 32       # nanoseconds, of a guest that does nothing quick
    TOLERANCE = 16384           # nanoseconds by which such a guest may see the timer late
    MOST_INSTRUCTIONS = 8192    # between two looks, for the sake of still slower guests


cdef int64_t next_stop(CPU* cpu) noexcept nogil:
    """What `stop_at` is to be: the limit of the run, or a look at the clock before it."""
    cdef int64_t left, distance, stop_at
    cpu.soft_stop_at = -1
    if likely(cpu.apic.timer_at == NO_LIMIT):
        return cpu.limit_at
    left = cpu.apic.timer_at - guest_time(cpu)
    if left < 0:
        left = 0
    if cpu.ram.virtual_time:
        left = (left + cpu.ram.instruction_ns - 1) / cpu.ram.instruction_ns
        return min(cpu.limit_at, cpu.retired + max(left, 1))    # to the instruction
    distance = (left + TOLERANCE) / SLOW_INSTRUCTION
    stop_at = cpu.retired + (distance if distance < MOST_INSTRUCTIONS else MOST_INSTRUCTIONS)
    if stop_at >= cpu.limit_at:
        return cpu.limit_at
    cpu.soft_stop_at = stop_at
    return stop_at


cdef bint timer_is_due(CPU* cpu) noexcept nogil:
    return cpu.apic.timer_at != NO_LIMIT and guest_time(cpu) >= cpu.apic.timer_at


cdef void notice_timer(CPU* cpu) noexcept nogil:
    """Request the interrupt of a timer that is due, and start the next period. By the vCPU itself."""
    cdef uint32_t entry = apic_register(cpu, APIC_LVT_TIMER)[0]
    cdef int64_t late
    if likely(not timer_is_due(cpu)):
        return
    if not entry & LVT_MASKED and apic_software_enabled(cpu):
        request_vector(cpu, entry & 0xFF, False)
    if cpu.apic.timer_period:
        # Periods that went by unseen are one interrupt, as the bit in IRR would have it.
        late = guest_time(cpu) - cpu.apic.timer_at
        atomic_store(&cpu.apic.timer_at, cpu.apic.timer_at + (late / cpu.apic.timer_period + 1) * cpu.apic.timer_period)
    else:
        atomic_store(&cpu.apic.timer_at, NO_LIMIT)
        cpu.apic.tsc_deadline = 0


cdef int64_t divisor(CPU* cpu) noexcept nogil:
    """By bits 3, 1 and 0 of the divide configuration: 2 to 128, or 1 for all of them set."""
    cdef uint32_t value = apic_register(cpu, APIC_DIVIDE)[0]
    return <int64_t>1 << (((value >> 1 & 4 | value & 3) + 1) & 7)


cdef void start_timer(CPU* cpu, uint32_t count) noexcept nogil:
    """A write to the initial count: 0 stops the timer."""
    cdef uint32_t mode = apic_register(cpu, APIC_LVT_TIMER)[0] & TIMER_MODE
    cdef int64_t duration = count * divisor(cpu)
    if mode == TIMER_TSC_DEADLINE:
        return
    apic_register(cpu, APIC_INITIAL_COUNT)[0] = count
    cpu.apic.timer_period = duration if mode == TIMER_PERIODIC else 0
    atomic_store(&cpu.apic.timer_at, guest_time(cpu) + duration if count else NO_LIMIT)


cdef void set_timer_entry(CPU* cpu, uint32_t entry) noexcept nogil:
    """A write to LVT timer. A change of mode stops the timer."""
    cdef uint32_t old = apic_register(cpu, APIC_LVT_TIMER)[0]
    apic_register(cpu, APIC_LVT_TIMER)[0] = entry
    if (old ^ entry) & TIMER_MODE:
        stop_timer(cpu)


cdef void set_divisor(CPU* cpu, uint32_t value) noexcept nogil:
    """A write to the divide configuration: the ticks that are left take another time from now on."""
    cdef uint32_t left = current_count(cpu)
    apic_register(cpu, APIC_DIVIDE)[0] = value
    if left:
        atomic_store(&cpu.apic.timer_at, guest_time(cpu) + left * divisor(cpu))
    if cpu.apic.timer_period:
        cpu.apic.timer_period = apic_register(cpu, APIC_INITIAL_COUNT)[0] * divisor(cpu)


cdef void stop_timer(CPU* cpu) noexcept nogil:
    apic_register(cpu, APIC_INITIAL_COUNT)[0] = 0
    cpu.apic.timer_period = 0
    cpu.apic.tsc_deadline = 0
    atomic_store(&cpu.apic.timer_at, NO_LIMIT)


cdef uint32_t current_count(CPU* cpu) noexcept nogil:
    """What is left of the count, 0 in TSC-deadline mode."""
    cdef int64_t left
    if cpu.apic.timer_at == NO_LIMIT or apic_register(cpu, APIC_LVT_TIMER)[0] & TIMER_TSC_DEADLINE:
        return 0
    left = cpu.apic.timer_at - guest_time(cpu)
    if left < 0:
        left = 0
    return <uint32_t>((left + divisor(cpu) - 1) / divisor(cpu))


cdef void set_tsc_deadline(CPU* cpu, uint64_t deadline) noexcept nogil:
    """A write to IA32_TSC_DEADLINE: 0 stops the timer; outside TSC-deadline mode it is ignored."""
    if apic_register(cpu, APIC_LVT_TIMER)[0] & TIMER_MODE != TIMER_TSC_DEADLINE:
        return
    cpu.apic.tsc_deadline = deadline
    follow_tsc(cpu)


cdef void follow_tsc(CPU* cpu) noexcept nogil:
    """The deadline in guest time: again when the TSC was written."""
    cdef int64_t now = guest_time(cpu)
    cdef uint64_t tsc = <uint64_t>now + cpu.tsc_offset
    cdef uint64_t left = cpu.apic.tsc_deadline - tsc if cpu.apic.tsc_deadline > tsc else 0
    if apic_register(cpu, APIC_LVT_TIMER)[0] & TIMER_MODE != TIMER_TSC_DEADLINE:
        return
    if not cpu.apic.tsc_deadline:
        atomic_store(&cpu.apic.timer_at, NO_LIMIT)
    elif left >= <uint64_t>NO_LIMIT // 2:
        atomic_store(&cpu.apic.timer_at, NO_LIMIT - 1)      # in more than 30 years
    else:
        atomic_store(&cpu.apic.timer_at, now + <int64_t>left)
