"""What an access is for, and how a step says that it was given up."""
from libc.stdint cimport uint64_t

cdef enum:
    INTENT_READ = 0
    INTENT_WRITE = 1            # also of the read in a read-modify-write: a page fault reports a write
    INTENT_FETCH = 2

# What a step returns when it did nothing and cpu.exception says why.
cdef enum:
    FAULT = -1


cdef inline bint faulted(uint64_t value) noexcept nogil:
    """Whether a value, which has at most 32 bits, is a fault instead."""
    return value >> 63
