"""MUL IMUL DIV IDIV."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from x86core.arithmetic cimport sign_extend
from x86core.operands cimport *
from x86core.state cimport CPU, EAX, EDX, EXCEPTION_DE, Insn
from x86core.variant cimport *


cdef inline int after_product(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                              int64_t low, bint overflows) noexcept nogil:
    """CF and OF tell whether the upper half matters; the other flags are undefined."""
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, low, 0, overflows)


cdef inline int multiply(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                         bint is_signed) noexcept nogil:
    """The accumulator times the operand, into twice the width."""
    cdef uint8_t* at
    cdef uint64_t operand, product
    cdef uint32_t a = get_register(cpu, EAX * 4, v)
    cdef uint32_t high
    cdef bint overflows
    if is_memory(v):
        at = locate(cpu, insn, v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, v, at, INTENT_READ)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
    else:
        operand = get_register(cpu, insn.rm, v)
    if is_signed:
        product = <uint64_t>(<int64_t>sign_extend(a, v) * sign_extend(<uint32_t>operand, v))
        overflows = <int64_t>product != sign_extend(<uint32_t>product, v)
    else:
        product = a * operand
        overflows = product >> width(v) != 0
    high = <uint32_t>(product >> width(v))
    if v & WIDTH == W8:
        (<uint16_t*>&cpu.gpr[EAX])[0] = <uint16_t>product
    else:
        set_register(cpu, EAX * 4, <uint32_t>product, v)
        set_register(cpu, EDX * 4, high, v)
    # CF = OF: the carry into the top bit is what makes them differ, so it is 0.
    return after_product(cpu, insn, result, carries, carry, v, sign_extend(<uint32_t>product, v), overflows)


cdef inline int mul(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return multiply(cpu, insn, result, carries, carry, v, False)


cdef inline int imul(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return multiply(cpu, insn, result, carries, carry, v, True)


cdef inline int multiply_into(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                              bint immediate) noexcept nogil:
    """IMUL of two or three operands: register = (register or immediate) * operand, truncated."""
    cdef uint8_t* at
    cdef uint64_t operand
    cdef int64_t product
    cdef uint8_t destination = insn.reg if is_memory(v) else insn.rm
    if is_memory(v):
        at = locate(cpu, insn, v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, v, at, INTENT_READ)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
    else:
        operand = get_register(cpu, insn.reg, v)
    product = sign_extend(insn.immediate if immediate else get_register(cpu, destination, v), v)
    product *= sign_extend(<uint32_t>operand, v)
    set_register(cpu, destination, <uint32_t>product, v)
    return after_product(cpu, insn, result, carries, carry, v, sign_extend(<uint32_t>product, v),
                         product != sign_extend(<uint32_t>product, v))


cdef inline int imul2(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return multiply_into(cpu, insn, result, carries, carry, v, False)


cdef inline int imul3(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return multiply_into(cpu, insn, result, carries, carry, v, True)


cdef inline int divide(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       bint is_signed) noexcept nogil:
    """The double-width accumulator by the operand; #DE on 0 or when the quotient does not fit.

    The flags, undefined, stay.
    """
    cdef uint8_t* at
    cdef uint64_t operand, dividend, quotient, remainder
    cdef int64_t signed_quotient, divisor
    if is_memory(v):
        at = locate(cpu, insn, v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, v, at, INTENT_READ)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
    else:
        operand = get_register(cpu, insn.rm, v)
    if unlikely(<uint32_t>operand == 0):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_DE)
    if v & WIDTH == W8:
        dividend = <uint16_t>cpu.gpr[EAX]
    else:
        dividend = <uint64_t>get_register(cpu, EDX * 4, v) << width(v) | get_register(cpu, EAX * 4, v)
    if is_signed:
        divisor = sign_extend(<uint32_t>operand, v)
        if v & WIDTH == W8:
            dividend = <uint64_t><int64_t><int16_t>dividend
        elif v & WIDTH == W16:
            dividend = <uint64_t><int64_t><int32_t>dividend
        if unlikely(divisor == -1):
            # The host's own division would trap on the one quotient that does not fit 64 bits.
            quotient = 0 - dividend
            remainder = 0
            signed_quotient = <int64_t>quotient
            if dividend == <uint64_t>1 << 63:
                return raise_at(cpu, insn, result, carries, carry, EXCEPTION_DE)
        else:
            signed_quotient = <int64_t>dividend / divisor
            quotient = <uint64_t>signed_quotient
            remainder = <uint64_t>(<int64_t>dividend % divisor)
        if unlikely(signed_quotient != sign_extend(<uint32_t>quotient, v)):
            return raise_at(cpu, insn, result, carries, carry, EXCEPTION_DE)
    else:
        quotient = dividend / operand
        remainder = dividend % operand
        if unlikely(quotient >> width(v)):
            return raise_at(cpu, insn, result, carries, carry, EXCEPTION_DE)
    if v & WIDTH == W8:
        (<uint16_t*>&cpu.gpr[EAX])[0] = <uint16_t>(quotient & 0xFF | remainder << 8)
    else:
        set_register(cpu, EAX * 4, <uint32_t>quotient, v)
        set_register(cpu, EDX * 4, <uint32_t>remainder, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int div(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return divide(cpu, insn, result, carries, carry, v, False)


cdef inline int idiv(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return divide(cpu, insn, result, carries, carry, v, True)


include "multiply_instances.pxi"
