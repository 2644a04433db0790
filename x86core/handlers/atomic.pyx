"""What LOCK makes atomic, XCHG with memory, and XADD, CMPXCHG and CMPXCHG8B with and without LOCK.

An aligned operand, and one that straddles a line, is one locked host instruction. One that straddles
pages which are not contiguous, or that lies in a device, is read and then written.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from x86core.arithmetic cimport ADC, ADD, AND, OR, SBB, SUB, XOR, Outcome, arithmetic, step
from x86core.flags cimport arithmetic_flags, result_from, zero
from x86core.intrinsics cimport atomic_swap_value
from x86core.locked cimport exchange, finish_atomic, locate_atomic, swap_value
from x86core.mmu cimport write_scattered
from x86core.operands cimport *
from x86core.segmentation cimport segment_address
from x86core.state cimport CPU, EAX, EBX, ECX, EDX, FLAG_ZF, Insn, NO_EXCEPTION
from x86core.variant cimport *


cdef enum Locked:
    INC = 16
    DEC
    NEG
    NOT


cdef inline Outcome compute(int operation, uint32_t a, uint32_t b, uint32_t carry, int v) noexcept nogil:
    if operation == INC:
        return step(1, a, carry, v)
    if operation == DEC:
        return step(-1, a, carry, v)
    if operation == NEG:
        return arithmetic(SUB, 0, a, 0, v)
    if operation == NOT:
        return arithmetic(XOR, a, truncate(~<uint32_t>0, v), 0, v)
    return arithmetic(operation, a, b, carry, v)


cdef inline int locked(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       int operation) noexcept nogil:
    """A read-modify-write as a compare-and-swap that is tried until it succeeds."""
    cdef uint32_t a, b
    cdef uint64_t loaded
    cdef uint8_t* at
    cdef Outcome outcome
    b = insn.immediate if v & FORM == FORM_MI else get_register(cpu, insn.reg, v)
    b = truncate(b, v)
    at = locate_atomic(cpu, insn, effective_address(cpu, insn, v), size(v))
    if likely(at != NULL):
        while True:
            a = load_from(at, size(v))
            outcome = compute(operation, a, b, carry, v)
            if likely(swap_value(at, a, <uint32_t>outcome.result, v) == a):
                break
        finish_atomic(cpu, size(v))
    else:
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        loaded = load(cpu, insn, v, NULL, INTENT_WRITE)
        if unlikely(faulted(loaded)):
            return fault(cpu, insn, result, carries, carry)
        outcome = compute(operation, <uint32_t>loaded, b, carry, v)
        if unlikely(store(cpu, insn, v, NULL, <uint32_t>outcome.result)):
            return fault(cpu, insn, result, carries, carry)
    if operation == NOT:
        return next(cpu, insn, result, carries, carry)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int locked_add(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, ADD)


cdef inline int locked_or(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, OR)


cdef inline int locked_adc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, ADC)


cdef inline int locked_sbb(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, SBB)


cdef inline int locked_and(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, AND)


cdef inline int locked_sub(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, SUB)


cdef inline int locked_xor(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, XOR)


cdef inline int locked_inc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, INC)


cdef inline int locked_dec(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, DEC)


cdef inline int locked_neg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, NEG)


cdef inline int locked_not(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked(cpu, insn, result, carries, carry, v, NOT)


cdef inline int locked_xchg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    """XCHG with memory: locked with or without the prefix."""
    cdef uint8_t* at = locate_atomic(cpu, insn, effective_address(cpu, insn, v), size(v))
    cdef uint64_t old
    if likely(at != NULL):
        old = exchange(at, get_register(cpu, insn.reg, v), v)
        finish_atomic(cpu, size(v))
    else:
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        old = load(cpu, insn, v, NULL, INTENT_WRITE)
        if unlikely(faulted(old)) or unlikely(store(cpu, insn, v, NULL, get_register(cpu, insn.reg, v))):
            return fault(cpu, insn, result, carries, carry)
    set_register(cpu, insn.reg, <uint32_t>old, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int xadd(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t a = get_register(cpu, insn.rm, v)
    cdef Outcome outcome = arithmetic(ADD, a, get_register(cpu, insn.reg, v), 0, v)
    # In this order: XADD of a register with itself leaves the sum.
    set_register(cpu, insn.reg, a, v)
    set_register(cpu, insn.rm, <uint32_t>outcome.result, v)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int locked_xadd(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t a, b
    cdef uint64_t loaded
    cdef uint8_t* at
    cdef Outcome outcome
    b = get_register(cpu, insn.reg, v)
    at = locate_atomic(cpu, insn, effective_address(cpu, insn, v), size(v))
    if likely(at != NULL):
        while True:
            a = load_from(at, size(v))
            outcome = arithmetic(ADD, a, b, 0, v)
            if likely(swap_value(at, a, <uint32_t>outcome.result, v) == a):
                break
        finish_atomic(cpu, size(v))
    else:
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        loaded = load(cpu, insn, v, NULL, INTENT_WRITE)
        if unlikely(faulted(loaded)):
            return fault(cpu, insn, result, carries, carry)
        a = <uint32_t>loaded
        outcome = arithmetic(ADD, a, b, 0, v)
        if unlikely(store(cpu, insn, v, NULL, <uint32_t>outcome.result)):
            return fault(cpu, insn, result, carries, carry)
    set_register(cpu, insn.reg, a, v)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int after_comparison(CPU* cpu, Insn* insn, int v, uint32_t expected, uint32_t found) noexcept nogil:
    """CMPXCHG's flags, and the accumulator where the comparison fails."""
    cdef Outcome outcome = arithmetic(SUB, expected, found, 0, v)
    if not zero(outcome.result):
        set_register(cpu, EAX * 4, found, v)
    return next(cpu, insn, outcome.result, outcome.carries, outcome.carry)


cdef inline int cmpxchg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t found = get_register(cpu, insn.rm, v)
    cdef uint32_t expected = get_register(cpu, EAX * 4, v)
    if found == expected:
        set_register(cpu, insn.rm, get_register(cpu, insn.reg, v), v)
    return after_comparison(cpu, insn, v, expected, found)


cdef inline int locked_cmpxchg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # Where the comparison fails the destination is written with what it held (SDM vol. 2, CMPXCHG).
    cdef uint32_t expected = get_register(cpu, EAX * 4, v)
    cdef uint32_t new = get_register(cpu, insn.reg, v)
    cdef uint64_t found
    cdef uint8_t* at = locate_atomic(cpu, insn, effective_address(cpu, insn, v), size(v))
    if likely(at != NULL):
        found = swap_value(at, expected, new, v)
        finish_atomic(cpu, size(v))
    else:
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        found = load(cpu, insn, v, NULL, INTENT_WRITE)
        if unlikely(faulted(found)):
            return fault(cpu, insn, result, carries, carry)
        if unlikely(store(cpu, insn, v, NULL, new if found == expected else <uint32_t>found)):
            return fault(cpu, insn, result, carries, carry)
    return after_comparison(cpu, insn, v, expected, <uint32_t>found)


cdef inline int locked_cmpxchg8b(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # ZF alone tells; where the comparison fails what was there is written again.
    cdef uint32_t offset = effective_address(cpu, insn, v)
    cdef uint64_t expected = <uint64_t>cpu.gpr[EDX] << 32 | cpu.gpr[EAX]
    cdef uint64_t new = <uint64_t>cpu.gpr[ECX] << 32 | cpu.gpr[EBX]
    cdef uint64_t found, high, linear
    cdef uint32_t flags
    cdef uint8_t* at = locate_atomic(cpu, insn, offset, 8)
    if likely(at != NULL):
        found = atomic_swap_value(<uint64_t*>at, expected, new)
        finish_atomic(cpu, 8)
    else:
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        found = load_at(cpu, insn, insn.segment, offset, 4, INTENT_WRITE)
        if unlikely(faulted(found)):
            return fault(cpu, insn, result, carries, carry)
        high = load_at(cpu, insn, insn.segment, (offset + 4) & address_mask(insn), 4, INTENT_WRITE)
        if unlikely(faulted(high)):
            return fault(cpu, insn, result, carries, carry)
        found |= high << 32
        if found != expected:
            new = found
        # Both halves at once: who wakes finds all of it, and while a device is waited for nothing is stored.
        linear = segment_address(cpu, insn.segment, offset, 8, INTENT_WRITE)
        if unlikely(faulted(linear)) or unlikely(write_scattered(cpu, <uint32_t>linear, new, 8)):
            return fault(cpu, insn, result, carries, carry)
    flags = arithmetic_flags(result, carries, carry) & ~<uint32_t>FLAG_ZF
    if found == expected:
        flags |= FLAG_ZF
    else:
        cpu.gpr[EAX] = <uint32_t>found
        cpu.gpr[EDX] = <uint32_t>(found >> 32)
    return next(cpu, insn, result_from(flags), carries, carry)


include "atomic_instances.pxi"
