"""How long a wait spins before it sleeps: a window that grows while waits are short and shrinks while they are long.

The rules are those of KVM's halt polling (Linux, Documentation/virt/kvm/halt-polling.rst), for HLT and for MWAIT
each with a window of its own.
"""
from libc.stdint cimport int64_t

from x86core.intrinsics cimport atomic_load
from x86core.state cimport CPU


cdef int64_t poll_window(CPU* cpu, int kind) noexcept nogil:
    """Nanoseconds to spin before a sleep."""
    cdef int64_t most = atomic_load(&cpu.halt_poll_ns)
    if cpu.poll_window[kind] > most:
        cpu.poll_window[kind] = most
    return cpu.poll_window[kind]


cdef void count_poll(CPU* cpu, int kind, bint successful, bint valid, int64_t nanoseconds) noexcept nogil:
    """A wait that began by spinning, whether that was enough, and whether it ended by what the guest waited for."""
    if kind == POLL_HLT:
        cpu.stats.halt_attempted_poll += 1
        if successful:
            cpu.stats.halt_successful_poll += 1
            cpu.stats.halt_poll_invalid += not valid
            cpu.stats.halt_poll_success_ns += nanoseconds
        else:
            cpu.stats.halt_poll_fail_ns += nanoseconds
    else:
        cpu.stats.mwait_attempted_poll += 1
        if successful:
            cpu.stats.mwait_successful_poll += 1
            cpu.stats.mwait_poll_invalid += not valid
            cpu.stats.mwait_poll_success_ns += nanoseconds
        else:
            cpu.stats.mwait_poll_fail_ns += nanoseconds


cdef int64_t grown(CPU* cpu, int64_t window) noexcept nogil:
    cdef int64_t factor = atomic_load(&cpu.halt_poll_ns_grow)
    cdef int64_t start = atomic_load(&cpu.halt_poll_ns_grow_start)
    cdef int64_t most = atomic_load(&cpu.halt_poll_ns)
    if factor == 0:
        return window
    window = start if window == 0 or window * factor < start else window * factor
    return window if window < most else most


cdef int64_t shrunk(CPU* cpu, int64_t window) noexcept nogil:
    cdef int64_t divisor = atomic_load(&cpu.halt_poll_ns_shrink)
    if divisor == 0:
        return 0
    window //= divisor
    return window if window >= <int64_t>atomic_load(&cpu.halt_poll_ns_grow_start) else 0


cdef void adjust_poll_window(CPU* cpu, int kind, int64_t waited, bint valid) noexcept nogil:
    """After a wait of so many nanoseconds; `valid`: it ended by what the guest waited for."""
    cdef int64_t window = cpu.poll_window[kind]
    cdef int64_t most = atomic_load(&cpu.halt_poll_ns)
    if not valid:
        window = shrunk(cpu, window)
    elif waited > window:
        if window and waited > most:
            window = shrunk(cpu, window)
        elif window < most and waited < most:
            window = grown(cpu, window)
    cpu.poll_window[kind] = window if window < most else most
