"""What the host itself needs to wake a thread: by a futex, or by a flag that the other one spins on.

Two threads share a `Mailbox`; one calls `sleep_through`, the other `wake_through`. Both run without the GIL.
"""
from libc.stdint cimport uint32_t, uint64_t

import numpy

from x86core.intrinsics cimport (atomic_exchange, atomic_load, atomic_store, futex_wait, futex_wake,
                                 monotonic_nanoseconds, spin_pause)


cdef class Mailbox:
    """The words that a sleeper and its waker share, and the latencies of so many wakes in nanoseconds."""
    cdef uint32_t flag              # 1: wake up
    cdef uint32_t parked            # 1: the sleeper waits, or is about to
    cdef uint32_t finished          # wakes that the sleeper has seen
    cdef uint64_t stamp             # host time just before the flag was set
    cdef int wakes
    cdef readonly object latencies

    def __init__(self, wakes):
        self.wakes = wakes
        self.latencies = numpy.zeros(wakes, dtype=numpy.uint64)

    def sleep_through(self, bint by_futex):
        """Be woken as often as the mailbox says: asleep in the kernel, or spinning."""
        cdef uint64_t[::1] latencies = self.latencies
        cdef int wake
        with nogil:
            for wake in range(self.wakes):
                atomic_store(&self.parked, 1)
                while not atomic_load(&self.flag):
                    if by_futex:
                        futex_wait(&self.flag, 0, -1)
                    else:
                        spin_pause()
                latencies[wake] = monotonic_nanoseconds() - self.stamp
                atomic_store(&self.parked, 0)
                atomic_store(&self.flag, 0)
                atomic_store(&self.finished, wake + 1)

    def wake_through(self, bint by_futex, uint64_t interval):
        """Wake the other thread as often, each time `interval` nanoseconds after it waits again."""
        cdef uint64_t until
        cdef int wake
        with nogil:
            for wake in range(self.wakes):
                while not atomic_load(&self.parked):
                    spin_pause()
                until = monotonic_nanoseconds() + interval
                while monotonic_nanoseconds() < until:
                    spin_pause()
                self.stamp = monotonic_nanoseconds()
                atomic_exchange(&self.flag, 1)
                if by_futex:
                    futex_wake(&self.flag)
                while atomic_load(&self.finished) != <uint32_t>wake + 1:
                    spin_pause()
