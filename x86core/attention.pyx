"""How any thread gets a vCPU's attention, and how a vCPU sleeps until somebody wants it.

A vCPU looks at one thing when it enters a block: whether `retired` would pass `stop_at`. Whoever
wants something sets a bit of `attention` first and lowers `stop_at` to 0 second; the vCPU raises
`stop_at` first and takes the bits second (dispatch.pyx), so that one of the two always sees the other.
"""
from libc.stdint cimport int64_t, uint32_t

from x86core.intrinsics cimport atomic_exchange, atomic_load, atomic_or, atomic_store, futex_wait, futex_wake
from x86core.state cimport CPU
from x86core.wake_fd cimport update_wake_fd


cdef void request(CPU* cpu, uint32_t bits) noexcept nogil:
    """Ask for something that can wait as long as the vCPU sleeps."""
    atomic_or(&cpu.attention, bits)
    atomic_store(&cpu.stop_at, 0)


cdef void post(CPU* cpu, uint32_t bits) noexcept nogil:
    """Ask for something that ends a sleep."""
    request(cpu, bits)
    wake(cpu)


cdef void wake(CPU* cpu) noexcept nogil:
    """Wake the vCPU if it sleeps, in the core or in the VMM; what it is to find must be stored before."""
    if atomic_load(&cpu.parked) and atomic_exchange(&cpu.parked, 0):
        futex_wake(&cpu.parked)
    update_wake_fd(cpu)


cdef int park(CPU* cpu, int64_t nanoseconds) noexcept nogil:
    """Sleep once; 0 or the errno that ended the sleep.

    The caller has set `parked` to 1 with an exchange and has looked at every reason to stay awake
    after it. Negative nanoseconds: no time limit.
    """
    return futex_wait(&cpu.parked, 1, nanoseconds)
