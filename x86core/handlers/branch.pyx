"""Jcc JMP CALL RET LOOP JCXZ, near and far, SETcc, and the end of a block that no jump ends."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from x86core.arrival cimport arrive, depart
from x86core.flags cimport condition, zero
from x86core.operands cimport *
from x86core.state cimport CPU, CS, ECX, ESP, EXCEPTION_GP, Insn, SS
from x86core.transfer cimport far_call, far_jump, far_return
from x86core.variant cimport *


cdef inline int chain(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int jcc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if condition(condition_of(v), result, carries, carry):
        return follow_taken(cpu, insn, result, carries, carry)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int jmp(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return follow_taken(cpu, insn, result, carries, carry)


cdef inline bint count_down(CPU* cpu, Insn* insn) noexcept nogil:
    """Decrement CX or ECX by address size; whether it is not 0 then. LOOP changes no flags."""
    cdef uint32_t mask = address_mask(insn)
    cdef uint32_t count = (cpu.gpr[ECX] - 1) & mask
    cpu.gpr[ECX] = cpu.gpr[ECX] & ~mask | count
    return count != 0


cdef inline int loop_if(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                        bint also) noexcept nogil:
    cdef uint32_t before = cpu.gpr[ECX]
    if count_down(cpu, insn) and also:
        if unlikely(insn.immediate > cpu.segments[CS].limit):
            cpu.gpr[ECX] = before
            return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
        return follow_taken(cpu, insn, result, carries, carry)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int loop(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return loop_if(cpu, insn, result, carries, carry, True)


cdef inline int loope(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return loop_if(cpu, insn, result, carries, carry, zero(result))


cdef inline int loopne(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return loop_if(cpu, insn, result, carries, carry, not zero(result))


cdef inline int jcxz(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if cpu.gpr[ECX] & address_mask(insn) == 0:
        return follow_taken(cpu, insn, result, carries, carry)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int setcc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef bint holds = condition(condition_of(v), result, carries, carry)
    if unlikely(set_value(cpu, insn, v, insn.rm, holds)):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


# Near calls and returns.

cdef inline int call(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint8_t* at
    if unlikely(insn.immediate > cpu.segments[CS].limit):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    if v & ACCESS == CAREFUL:
        if unlikely(stack_write(cpu, insn, -size(v), next_eip(insn), size(v))):
            return fault(cpu, insn, result, carries, carry)
    else:
        at = direct(cpu, SS, cpu.gpr[ESP] - size(v) if v & ACCESS == FLAT else stack_offset(cpu, -size(v)), size(v), v,
                    INTENT_WRITE)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        store_to(at, next_eip(insn), size(v))
    if v & ACCESS == FLAT:
        cpu.gpr[ESP] -= size(v)
    else:
        set_stack_pointer(cpu, cpu.gpr[ESP] - size(v))
    return follow_taken(cpu, insn, result, carries, carry)


cdef inline int ret(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint8_t* at
    cdef uint64_t target
    if v & ACCESS == CAREFUL:
        target = stack_read(cpu, insn, 0, size(v))
        if unlikely(faulted(target)):
            return fault(cpu, insn, result, carries, carry)
    else:
        at = direct(cpu, SS, cpu.gpr[ESP] if v & ACCESS == FLAT else stack_offset(cpu, 0), size(v), v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        target = load_from(at, size(v))
    if v & WIDTH == W32 and unlikely(<uint32_t>target > cpu.segments[CS].limit):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    if v & ACCESS == FLAT:
        cpu.gpr[ESP] += size(v)
    else:
        set_stack_pointer(cpu, cpu.gpr[ESP] + size(v))
    return jump(cpu, insn, result, carries, carry, <uint32_t>target)


cdef inline int ret_release(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t target = stack_read(cpu, insn, 0, size(v))
    if unlikely(faulted(target)):
        return fault(cpu, insn, result, carries, carry)
    if unlikely(<uint32_t>target > cpu.segments[CS].limit):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    set_stack_pointer(cpu, cpu.gpr[ESP] + size(v) + insn.immediate)
    return jump(cpu, insn, result, carries, carry, <uint32_t>target)


cdef inline uint64_t target_operand(CPU* cpu, Insn* insn, int v) noexcept nogil:
    """The operand of an indirect jump or call: an offset within CS, or a fault."""
    cdef uint64_t target = value_of(cpu, insn, v, insn.rm, INTENT_READ)
    if unlikely(faulted(target)):
        return target
    if unlikely(target > cpu.segments[CS].limit):
        return <uint64_t>raise_exception(cpu, EXCEPTION_GP, 0)
    return target


cdef inline int jmp_indirect(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t target = target_operand(cpu, insn, v)
    if unlikely(faulted(target)):
        return fault(cpu, insn, result, carries, carry)
    return jump(cpu, insn, result, carries, carry, <uint32_t>target)


cdef inline int call_indirect(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t target = target_operand(cpu, insn, v)
    if unlikely(faulted(target)) or unlikely(stack_write(cpu, insn, -size(v), next_eip(insn), size(v))):
        return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, cpu.gpr[ESP] - size(v))
    return jump(cpu, insn, result, carries, carry, <uint32_t>target)


# Far transfers.

cdef inline int jmp_far(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    depart(cpu, insn, result, carries, carry)
    return arrive(cpu, insn, far_jump(cpu, <uint32_t>insn.displacement & 0xFFFF, insn.immediate, next_eip(insn)))


cdef inline int call_far(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    depart(cpu, insn, result, carries, carry)
    return arrive(cpu, insn, far_call(
        cpu, <uint32_t>insn.displacement & 0xFFFF, insn.immediate, next_eip(insn), size(v)))


cdef inline uint64_t far_selector(CPU* cpu, Insn* insn, int v) noexcept nogil:
    """The second part of a far pointer in memory."""
    cdef uint32_t offset = (effective_address(cpu, insn, v) + size(v)) & address_mask(insn)
    return load_at(cpu, insn, insn.segment, offset, 2, INTENT_READ)


cdef inline int jmp_far_indirect(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t eip = load(cpu, insn, v, NULL, INTENT_READ)
    cdef uint64_t selector
    if unlikely(faulted(eip)):
        return fault(cpu, insn, result, carries, carry)
    selector = far_selector(cpu, insn, v)
    if unlikely(faulted(selector)):
        return fault(cpu, insn, result, carries, carry)
    depart(cpu, insn, result, carries, carry)
    return arrive(cpu, insn, far_jump(cpu, <uint32_t>selector, <uint32_t>eip, next_eip(insn)))


cdef inline int call_far_indirect(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t eip = load(cpu, insn, v, NULL, INTENT_READ)
    cdef uint64_t selector
    if unlikely(faulted(eip)):
        return fault(cpu, insn, result, carries, carry)
    selector = far_selector(cpu, insn, v)
    if unlikely(faulted(selector)):
        return fault(cpu, insn, result, carries, carry)
    depart(cpu, insn, result, carries, carry)
    return arrive(cpu, insn, far_call(cpu, <uint32_t>selector, <uint32_t>eip, next_eip(insn), size(v)))


cdef inline int ret_far(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    depart(cpu, insn, result, carries, carry)
    return arrive(cpu, insn, far_return(cpu, size(v), insn.immediate))


include "branch_instances.pxi"
