"""Arithmetic flags, kept as what they come from (design: lazy flags without an operation code).

    result   the result, sign-extended to 64 bits: ZF low 32 bits zero, SF negative,
             PF parity of byte 0 exclusive-or byte 4
    carries  a ^ b ^ result, sign-extended to 32 bits: AF bit 4, carry into the top bit at bit 31
    carry    CF, 0 or 1; OF is bit 31 of carries exclusive-or carry
"""
from libc.stdint cimport int32_t, int64_t, uint32_t

from x86core.intrinsics cimport parity_is_even
from x86core.state cimport (CPU, FLAG_AF, FLAG_CF, FLAG_OF, FLAG_PF, FLAG_SF, FLAG_ZF,
                            FLAGS_ARITHMETIC)


cdef inline bint zero(int64_t result) noexcept nogil:
    return <uint32_t>result == 0


cdef inline bint sign(int64_t result) noexcept nogil:
    return result < 0


cdef inline bint overflow(uint32_t carries, uint32_t carry) noexcept nogil:
    return (carries >> 31) ^ carry


cdef inline bint parity(int64_t result) noexcept nogil:
    return parity_is_even(<uint32_t>(result ^ (result >> 32)))


cdef inline bint condition(int code, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """Whether condition `code`, the low four bits of Jcc, SETcc and CMOVcc, holds."""
    cdef int kind = code >> 1
    cdef bint holds
    if kind == 0:
        holds = overflow(carries, carry)
    elif kind == 1:
        holds = carry
    elif kind == 2:
        holds = zero(result)
    elif kind == 3:
        holds = carry or zero(result)
    elif kind == 4:
        holds = sign(result)
    elif kind == 5:
        holds = parity(result)
    elif kind == 6:
        holds = sign(result) != overflow(carries, carry)
    else:
        holds = zero(result) or sign(result) != overflow(carries, carry)
    return not holds if code & 1 else holds


cdef inline uint32_t arithmetic_flags(int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """CF PF AF ZF SF OF at their places in EFLAGS."""
    cdef uint32_t flags = carry | carries & FLAG_AF
    if parity(result):
        flags |= FLAG_PF
    if zero(result):
        flags |= FLAG_ZF
    if sign(result):
        flags |= FLAG_SF
    if overflow(carries, carry):
        flags |= FLAG_OF
    return flags


cdef inline int64_t result_from(uint32_t eflags) noexcept nogil:
    """A result that shows the given ZF, SF and PF."""
    cdef uint32_t low = not eflags & FLAG_ZF
    cdef uint32_t odd = not eflags & FLAG_PF
    cdef uint32_t high = low ^ odd
    if eflags & FLAG_SF:
        high |= 0x80000000U
    return (<int64_t><int32_t>high << 32) | low


cdef inline uint32_t carries_from(uint32_t eflags) noexcept nogil:
    """Carries that show the given AF, and the given OF beside the given CF."""
    cdef uint32_t overflows = (eflags >> 11 ^ eflags) & 1
    return eflags & FLAG_AF | overflows << 31


cdef inline uint32_t get_eflags(CPU* cpu) noexcept nogil:
    """EFLAGS, when the arithmetic flags stand in `cpu`."""
    return cpu.eflags | arithmetic_flags(cpu.result, cpu.carries, cpu.carry)


cdef inline void set_eflags(CPU* cpu, uint32_t eflags) noexcept nogil:
    cpu.eflags = eflags & ~<uint32_t>FLAGS_ARITHMETIC
    cpu.result = result_from(eflags)
    cpu.carries = carries_from(eflags)
    cpu.carry = eflags & FLAG_CF
