"""What the host itself needs to wake a thread: by a futex, or by a flag that the other one spins on.

Two threads share a `Mailbox`; one calls `sleep_through`, the other `wake_through`. Both run without the GIL.
"""
from libc.stdint cimport uint32_t, uint64_t

import numpy

from x86core.intrinsics cimport (atomic_exchange, atomic_load, atomic_store, futex_wait, futex_wake,
                                 monotonic_nanoseconds, spin_pause)

cdef extern from "<sched.h>" nogil:
    int sched_yield()


def look_ns(int turns):
    """Nanoseconds for each turn of a loop that looks at a word and pauses."""
    cdef uint32_t flag = 0
    cdef uint64_t start
    cdef int _turn
    with nogil:
        start = monotonic_nanoseconds()
        for _turn in range(turns):
            if atomic_load(&flag):
                break
            spin_pause()
        start = monotonic_nanoseconds() - start
    return start / <double>turns


def yield_ns(int turns):
    """Nanoseconds for each of so many sched_yield()."""
    cdef uint64_t start
    cdef int _turn
    with nogil:
        start = monotonic_nanoseconds()
        for _turn in range(turns):
            sched_yield()
        start = monotonic_nanoseconds() - start
    return start / <double>turns


cdef class Mailbox:
    """The words that a sleeper and its waker share; of so many wakes the latencies in nanoseconds, and how long the
    calls that woke by a futex took.
    """
    cdef uint32_t flag              # 1: wake up
    cdef uint32_t parked            # 1: the sleeper waits, or is about to
    cdef uint32_t finished          # wakes that the sleeper has seen
    cdef uint64_t stamp             # host time just before the flag was set
    cdef int wakes
    cdef readonly object latencies
    cdef readonly object calls

    def __init__(self, wakes):
        self.wakes = wakes
        self.latencies = numpy.zeros(wakes, dtype=numpy.uint64)
        self.calls = numpy.zeros(wakes, dtype=numpy.uint64)

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
        cdef uint64_t[::1] calls = self.calls
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
                    calls[wake] = monotonic_nanoseconds() - self.stamp
                while atomic_load(&self.finished) != <uint32_t>wake + 1:
                    spin_pause()


cdef class Handoffs:
    """A token that two threads pass to and fro, so many times each; both sleep in a futex in between."""
    cdef uint32_t turn              # whose it is, 0 or 1
    cdef int times

    def __init__(self, times):
        self.times = times

    def play(self, uint32_t me):
        """Take the token and pass it on, as thread 0 or 1; nanoseconds for each handoff, two to a round."""
        cdef uint64_t start
        cdef int _time
        with nogil:
            start = monotonic_nanoseconds()
            for _time in range(self.times):
                while atomic_load(&self.turn) != me:
                    futex_wait(&self.turn, 1 - me, -1)
                atomic_exchange(&self.turn, 1 - me)
                futex_wake(&self.turn)
            start = monotonic_nanoseconds() - start
        return start / <double>(2 * self.times)
