"""Integer operations and the flags that they leave, for every width."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t

from x86core.variant cimport W8, W16, WIDTH, width

cdef enum Operation:
    ADD
    OR
    ADC
    SBB
    AND
    SUB
    XOR

ctypedef struct Outcome:
    int64_t result              # sign-extended; its low bits are the value to store
    uint32_t carries
    uint32_t carry


cdef inline int32_t sign_extend(uint32_t value, int v) noexcept nogil:
    """The low bits of a value, by width, as a signed number."""
    if v & WIDTH == W8:
        return <int8_t>value
    if v & WIDTH == W16:
        return <int16_t>value
    return <int32_t>value


cdef inline Outcome arithmetic(int operation, uint32_t a, uint32_t b, uint32_t carry, int v) noexcept nogil:
    """One of the eight; `a` and `b` are zero-extended. CMP is SUB, TEST is AND, with the value dropped."""
    cdef Outcome outcome
    cdef uint64_t wide
    if operation == OR or operation == AND or operation == XOR:
        if operation == OR:
            a |= b
        elif operation == AND:
            a &= b
        else:
            a ^= b
        outcome.result = sign_extend(a, v)
        outcome.carries = 0
        outcome.carry = 0
        return outcome
    if operation == ADD:
        wide = <uint64_t>a + b
    elif operation == ADC:
        wide = <uint64_t>a + b + carry
    elif operation == SUB:
        wide = <uint64_t>a - b
    else:
        wide = <uint64_t>a - b - carry
    outcome.result = sign_extend(<uint32_t>wide, v)
    outcome.carries = sign_extend(a ^ b ^ <uint32_t>wide, v)
    outcome.carry = wide >> width(v) & 1
    return outcome


cdef inline Outcome step(int32_t by, uint32_t a, uint32_t carry, int v) noexcept nogil:
    """INC and DEC: CF stays, so OF is put into `carries` relative to it."""
    cdef Outcome outcome
    cdef uint32_t r = a + by
    cdef int32_t overflow_at = -(1 << (width(v) - 1)) if by > 0 else (1 << (width(v) - 1)) - 1
    cdef uint32_t overflows
    outcome.result = sign_extend(r, v)
    overflows = <int32_t>outcome.result == sign_extend(<uint32_t>overflow_at, v)
    outcome.carries = (a ^ r ^ 1) & 0x10 | (overflows ^ carry) << 31
    outcome.carry = carry
    return outcome
