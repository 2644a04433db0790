"""ROL ROR RCL RCR SHL SHR SAR: by an immediate, by 1, by CL.

A count of 0 changes no flags. OF is defined for a count of 1 only; for others it is what the formula of
that case gives, as on processors since the Pentium Pro.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.arithmetic cimport sign_extend
from x86core.operands cimport *
from x86core.state cimport CPU, ECX, Insn
from x86core.variant cimport *


cdef enum Shift:
    ROL
    ROR
    RCL
    RCR
    SHL
    SHR
    SAR


cdef inline uint32_t top_bit(uint32_t value, int v) noexcept nogil:
    return value >> (width(v) - 1) & 1


cdef inline int shift(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                      int operation) noexcept nogil:
    cdef int form = v & FORM
    cdef uint32_t count = insn.immediate if form == FORM_RI or form == FORM_MI else cpu.gpr[ECX]
    cdef uint64_t operand
    cdef uint32_t a, r, carry_out, overflows
    cdef uint64_t wide
    cdef uint32_t bits = width(v)
    count &= 31
    operand = value_of(cpu, insn, v, insn.rm, INTENT_WRITE)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    a = <uint32_t>operand
    if unlikely(count == 0):
        if is_memory(v) and unlikely(store(cpu, insn, v, NULL, a)):
            return fault(cpu, insn, result, carries, carry)
        return next(cpu, insn, result, carries, carry)
    if operation == SHL:
        wide = <uint64_t>a << count
        r = <uint32_t>wide
        carry_out = wide >> bits & 1
        overflows = top_bit(r, v) ^ carry_out
    elif operation == SHR:
        r = a >> count
        carry_out = a >> (count - 1) & 1
        overflows = top_bit(a, v)
    elif operation == SAR:
        r = <uint32_t>(sign_extend(a, v) >> count)
        carry_out = sign_extend(a, v) >> (count - 1) & 1
        overflows = 0
    elif operation == ROL:
        count &= bits - 1
        r = a << count | a >> (bits - count) if count else a
        carry_out = r & 1
        overflows = top_bit(r, v) ^ carry_out
    elif operation == ROR:
        count &= bits - 1
        r = a >> count | a << (bits - count) if count else a
        carry_out = top_bit(r, v)
        overflows = top_bit(r, v) ^ top_bit(r << 1, v)
    else:
        # Through the carry: a rotation of one bit more.
        count %= bits + 1
        wide = <uint64_t>carry << bits | a
        if operation == RCR:
            count = bits + 1 - count
        if count != 0 and count != bits + 1:
            wide = wide << count | wide >> (bits + 1 - count)
        r = <uint32_t>wide
        carry_out = wide >> bits & 1
        if operation == RCL:
            overflows = top_bit(r, v) ^ carry_out
        else:
            overflows = top_bit(r, v) ^ top_bit(r << 1, v)
    if unlikely(set_value(cpu, insn, v, insn.rm, r)):
        return fault(cpu, insn, result, carries, carry)
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    if operation == SHL or operation == SHR or operation == SAR:
        return next(cpu, insn, sign_extend(r, v), (overflows ^ carry_out) << 31, carry_out)
    # Rotations leave ZF SF PF AF.
    return next(cpu, insn, result, carries & 0x7FFFFFFF | (overflows ^ carry_out) << 31, carry_out)


cdef inline int rol(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, ROL)


cdef inline int ror(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, ROR)


cdef inline int rcl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, RCL)


cdef inline int rcr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, RCR)


cdef inline int shl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, SHL)


cdef inline int shr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, SHR)


cdef inline int sar(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return shift(cpu, insn, result, carries, carry, v, SAR)


include "shift_instances.pxi"
