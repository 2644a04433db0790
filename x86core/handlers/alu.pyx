"""ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT, and most of them fused with what ends loops."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from x86core.arithmetic cimport ADC, ADD, AND, OR, SBB, SUB, XOR, Outcome, arithmetic, sign_extend, step
from x86core.flags cimport condition
from x86core.operands cimport *
from x86core.pair cimport is_pair, run_pair
from x86core.state cimport CPU, Insn
from x86core.variant cimport *


cdef inline bint condition_after(int operation, uint32_t a, uint32_t b, Outcome outcome, int v) noexcept nogil:
    """The condition of a fused jump. After a subtraction it is a comparison, which the host has too."""
    cdef int code = condition_of(v)
    if operation == SUB:
        if code == 0x2:
            return a < b
        if code == 0x3:
            return a >= b
        if code == 0x4:
            return a == b
        if code == 0x5:
            return a != b
        if code == 0x6:
            return a <= b
        if code == 0x7:
            return a > b
        if code == 0xC:
            return sign_extend(a, v) < sign_extend(b, v)
        if code == 0xD:
            return sign_extend(a, v) >= sign_extend(b, v)
        if code == 0xE:
            return sign_extend(a, v) <= sign_extend(b, v)
        if code == 0xF:
            return sign_extend(a, v) > sign_extend(b, v)
    return condition(code, outcome.result, outcome.carries, outcome.carry)


cdef inline int jump_if(CPU* cpu, Insn* insn, bint holds, Outcome outcome) noexcept nogil:
    """The conditional jump of a fused pair."""
    if holds:
        return follow_taken(cpu, insn, outcome.result, outcome.carries, outcome.carry)
    return follow_fallthrough(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int compare_and_jump(CPU* cpu, Insn* insn, int v) noexcept nogil:
    """The 32-bit CMP of registers and the conditional jump that are fused with what stands before."""
    cdef uint32_t a = register32(cpu, insn.rm)
    cdef uint32_t b = register32(cpu, insn.reg) if v & THEN == THEN_CMP_RR_JCC else insn.immediate
    cdef Outcome outcome = arithmetic(SUB, a, b, 0, v)
    return jump_if(cpu, insn + 1, condition_after(SUB, a, b, outcome, v), outcome)


cdef inline int binary(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       int operation, bint keep) noexcept nogil:
    """Destination = destination (operation) source; `keep` stores it."""
    cdef int form = v & FORM
    cdef bint to_memory = keep and (form == FORM_MR or form == FORM_MI)
    cdef int intent = INTENT_WRITE if to_memory else INTENT_READ
    cdef uint8_t* at = NULL
    cdef uint64_t operand = 0
    cdef uint32_t a, b
    cdef Outcome outcome
    if is_memory(v):
        at = locate(cpu, insn, v, intent)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, v, at, intent)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
    if form == FORM_RR:
        a = get_register(cpu, insn.rm, v)
        b = get_register(cpu, insn.reg, v)
    elif form == FORM_RI:
        a = get_register(cpu, insn.rm, v)
        b = truncate(insn.immediate, v)
    elif form == FORM_RM:
        a = get_register(cpu, insn.reg, v)
        b = <uint32_t>operand
    elif form == FORM_MR:
        a = <uint32_t>operand
        b = get_register(cpu, insn.reg, v)
    else:
        a = <uint32_t>operand
        b = truncate(insn.immediate, v)
    outcome = arithmetic(operation, a, b, carry, v)
    if is_pair(v):
        return run_pair(cpu, insn, result, carries, carry, v, insn.rm, <uint32_t>outcome.result)
    if to_memory:
        if unlikely(store(cpu, insn, v, at, <uint32_t>outcome.result)):
            return fault(cpu, insn, result, carries, carry)
    elif keep:
        set_register(cpu, insn.reg if form == FORM_RM else insn.rm, <uint32_t>outcome.result, v)
    if v & THEN == THEN_JCC:
        return jump_if(cpu, insn + 1, condition_after(operation, a, b, outcome, v), outcome)
    if v & THEN:
        return compare_and_jump(cpu, insn + 1, v)
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int unary(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                      int by) noexcept nogil:
    """INC (by 1) and DEC (by -1)."""
    cdef uint8_t* at = NULL
    cdef uint64_t operand
    cdef Outcome outcome
    if is_memory(v):
        at = locate(cpu, insn, v, INTENT_WRITE)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, v, at, INTENT_WRITE)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
    else:
        operand = get_register(cpu, insn.rm, v)
    outcome = step(by, <uint32_t>operand, carry, v)
    if is_pair(v):
        return run_pair(cpu, insn, result, carries, carry, v, insn.rm, <uint32_t>outcome.result)
    if is_memory(v):
        if unlikely(store(cpu, insn, v, at, <uint32_t>outcome.result)):
            return fault(cpu, insn, result, carries, carry)
    else:
        set_register(cpu, insn.rm, <uint32_t>outcome.result, v)
    if v & THEN == THEN_JCC:
        return jump_if(cpu, insn + 1, condition(condition_of(v), outcome.result, outcome.carries, outcome.carry),
                       outcome)
    if v & THEN:
        return compare_and_jump(cpu, insn + 1, v)
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int add(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, ADD, True)


cdef inline int or_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, OR, True)


cdef inline int adc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, ADC, True)


cdef inline int sbb(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, SBB, True)


cdef inline int and_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, AND, True)


cdef inline int sub(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, SUB, True)


cdef inline int xor(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, XOR, True)


cdef inline int cmp(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, SUB, False)


cdef inline int test(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return binary(cpu, insn, result, carries, carry, v, AND, False)


cdef inline int inc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return unary(cpu, insn, result, carries, carry, v, 1)


cdef inline int dec(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return unary(cpu, insn, result, carries, carry, v, -1)


cdef inline int neg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t operand
    cdef Outcome outcome
    operand = value_of(cpu, insn, v, insn.rm, INTENT_WRITE)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    outcome = arithmetic(SUB, 0, <uint32_t>operand, 0, v)
    if unlikely(set_value(cpu, insn, v, insn.rm, <uint32_t>outcome.result)):
        return fault(cpu, insn, result, carries, carry)
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int not_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t operand = value_of(cpu, insn, v, insn.rm, INTENT_WRITE)
    if unlikely(faulted(operand)) or unlikely(set_value(cpu, insn, v, insn.rm, ~<uint32_t>operand)):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


include "alu_instances.pxi"
