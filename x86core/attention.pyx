"""How any thread gets a vCPU's attention, and how a vCPU sleeps until somebody wants it.

A vCPU looks at one thing when it enters a block: whether `retired` would pass `stop_at`. Whoever
wants something sets a bit of `attention` first and lowers `stop_at` to 0 second; the vCPU raises
`stop_at` first and takes the bits second (dispatch.pyx), so that one of the two always sees the other.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport read, write

from x86core.intrinsics cimport atomic_exchange, atomic_load, atomic_or, atomic_store, futex_wait, futex_wake
from x86core.state cimport ATTENTION_KICK, ATTENTION_NMI, CPU, FLAG_IF


cdef void request(CPU* cpu, uint32_t bits) noexcept nogil:
    """Ask for something that can wait as long as the vCPU sleeps."""
    atomic_or(&cpu.attention, bits)
    atomic_store(&cpu.stop_at, 0)


cdef void post(CPU* cpu, uint32_t bits) noexcept nogil:
    """Ask for something that ends a sleep."""
    request(cpu, bits)
    unpark(cpu)
    if atomic_load(&cpu.notify) and is_wanted(cpu, False):
        signal_wake_fd(cpu)


cdef bint interrupt_pending(CPU* cpu) noexcept nogil:
    """Whether an external interrupt waits, masked or not."""
    return (atomic_load(&cpu.interrupts[0]) | atomic_load(&cpu.interrupts[1])
            | atomic_load(&cpu.interrupts[2]) | atomic_load(&cpu.interrupts[3])) != 0


cdef bint event_pending(CPU* cpu, bint masked_interrupts_count) noexcept nogil:
    """Whether an interrupt or NMI ends a wait. The vCPU is outside the guest."""
    if (cpu.nmi_pending or atomic_load(&cpu.attention) & ATTENTION_NMI) and not cpu.nmi_blocked:
        return True
    return interrupt_pending(cpu) and (masked_interrupts_count or cpu.eflags & FLAG_IF != 0)


cdef bint is_wanted(CPU* cpu, bint masked_interrupts_count) noexcept nogil:
    """Whether something other than a store ends a wait. The vCPU is outside the guest."""
    return atomic_load(&cpu.attention) & ATTENTION_KICK or event_pending(cpu, masked_interrupts_count)


cdef void unpark(CPU* cpu) noexcept nogil:
    """Wake the vCPU if it sleeps; what it is to find must be stored before."""
    if atomic_load(&cpu.parked) and atomic_exchange(&cpu.parked, 0):
        futex_wake(&cpu.parked)


cdef int park(CPU* cpu, int64_t nanoseconds) noexcept nogil:
    """Sleep once; 0 or the errno that ended the sleep.

    The caller has set `parked` to 1 with an exchange and has looked at every reason to stay awake
    after it. Negative nanoseconds: no time limit.
    """
    return futex_wait(&cpu.parked, 1, nanoseconds)


cdef void signal_wake_fd(CPU* cpu) noexcept nogil:
    cdef uint64_t one = 1
    # The only failure is a counter at its maximum, which is readable as it should be.
    write(cpu.wake_fd, &one, sizeof(one))
    atomic_store(&cpu.notified, 1)


cdef void watch_wake_fd(CPU* cpu) noexcept nogil:
    """From now on wake_fd becomes readable when the vCPU, outside the guest, is wanted."""
    cdef uint64_t count
    if atomic_exchange(&cpu.notified, 0):
        read(cpu.wake_fd, &count, sizeof(count))
    atomic_exchange(&cpu.notify, 1)
    if is_wanted(cpu, False):
        signal_wake_fd(cpu)
