"""The second instruction of a pair of 32-bit ones: one dispatch for both.

Where the second reads what the first has just written it takes the value, and does not wait for it to come back
from memory.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t

from x86core.arithmetic cimport ADD, AND, OR, SUB, XOR, Outcome, arithmetic, step
from x86core.intrinsics cimport unlikely
from x86core.mmu cimport INTENT_WRITE, store_to
from x86core.operands cimport careful, locate, next, register32, set_register
from x86core.state cimport CPU, Insn
from x86core.variant cimport *


cdef inline bint is_pair(int v) noexcept nogil:
    return v & THEN >= THEN_ADD_RR


cdef inline uint32_t forwarded(CPU* cpu, uint8_t offset, uint8_t written, uint32_t value) noexcept nogil:
    """A register, of which one has just been written."""
    return value if offset == written else register32(cpu, offset)


cdef inline int operation_behind(int v) noexcept nogil:
    """The operation of a second instruction with two operands; -1 is MOV."""
    cdef int then = v & THEN
    if then == THEN_ADD_RR or then == THEN_ADD_RI:
        return ADD
    if then == THEN_OR_RR or then == THEN_OR_RI:
        return OR
    if then == THEN_AND_RR or then == THEN_AND_RI:
        return AND
    if then == THEN_SUB_RR or then == THEN_SUB_RI:
        return SUB
    if then == THEN_XOR_RR or then == THEN_XOR_RI:
        return XOR
    return -1


cdef inline bint has_immediate(int v) noexcept nogil:
    cdef int then = v & THEN
    return (then == THEN_ADD_RI or then == THEN_OR_RI or then == THEN_AND_RI or then == THEN_SUB_RI
            or then == THEN_XOR_RI or then == THEN_MOV_RI)


cdef inline int run_pair(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                         uint8_t written, uint32_t value) noexcept nogil:
    """Finish the first of a pair, which leaves `value` in a register, and execute the second."""
    cdef int then = v & THEN
    cdef int operation = operation_behind(v)
    cdef uint8_t* at
    cdef uint32_t a, b
    cdef Outcome outcome
    set_register(cpu, written, value, W32)
    insn += 1
    if then == THEN_STORE or then == THEN_STORE_INDEXED:
        at = locate(cpu, insn, W32 | FORM_MR | (FLAT if then == THEN_STORE else FLAT_INDEXED), INTENT_WRITE)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        store_to(at, forwarded(cpu, insn.reg, written, value), 4)
        return next(cpu, insn, result, carries, carry)
    if then == THEN_LEA or then == THEN_LEA_INDEXED:
        a = forwarded(cpu, insn.base, written, value) + insn.displacement
        if then == THEN_LEA_INDEXED:
            a += forwarded(cpu, insn.index, written, value) << insn.scale
        set_register(cpu, insn.reg, a, W32)
        return next(cpu, insn, result, carries, carry)
    if then == THEN_INC or then == THEN_DEC or then == THEN_NOT:
        a = forwarded(cpu, insn.rm, written, value)
        if then == THEN_NOT:
            set_register(cpu, insn.rm, ~a, W32)
            return next(cpu, insn, result, carries, carry)
        outcome = step(1 if then == THEN_INC else -1, a, carry, W32)
    else:
        b = insn.immediate if has_immediate(v) else forwarded(cpu, insn.reg, written, value)
        if operation < 0:
            set_register(cpu, insn.rm, b, W32)
            return next(cpu, insn, result, carries, carry)
        outcome = arithmetic(operation, forwarded(cpu, insn.rm, written, value), b, 0, W32)
    set_register(cpu, insn.rm, <uint32_t>outcome.result, W32)
    if v & DEAD:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)
