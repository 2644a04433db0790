"""PUSH POP PUSHA POPA PUSHF POPF, and segment registers on the stack."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from x86core.flags cimport arithmetic_flags
from x86core.operands cimport *
from x86core.segmentation cimport load_segment
from x86core.state cimport CPU, EAX, EDI, ESP, EXCEPTION_GP, FLAG_IOPL, FLAG_RF, FLAG_VM, Insn, SS
from x86core.transfer cimport pop_eflags
from x86core.variant cimport *


cdef inline int push_value(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                           uint32_t value) noexcept nogil:
    cdef uint8_t* at
    if v & ACCESS == CAREFUL:
        if unlikely(stack_write(cpu, insn, -size(v), value, size(v))):
            return fault(cpu, insn, result, carries, carry)
        set_stack_pointer(cpu, cpu.gpr[ESP] - size(v))
    elif v & ACCESS == FLAT:
        at = direct(cpu, SS, cpu.gpr[ESP] - size(v), size(v), v, INTENT_WRITE)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        store_to(at, value, size(v))
        cpu.gpr[ESP] -= size(v)
    else:
        at = direct(cpu, SS, stack_offset(cpu, -size(v)), size(v), v, INTENT_WRITE)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        store_to(at, value, size(v))
        set_stack_pointer(cpu, cpu.gpr[ESP] - size(v))
    return next(cpu, insn, result, carries, carry)


cdef inline int push(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return push_value(cpu, insn, result, carries, carry, v, get_register(cpu, insn.rm, v))


cdef inline int push_immediate(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return push_value(cpu, insn, result, carries, carry, v, insn.immediate)


cdef inline int push_segment(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return push_value(cpu, insn, result, carries, carry, v | CAREFUL, cpu.segments[insn.reg].selector)


cdef inline int push_operand(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t operand
    operand = value_of(cpu, insn, v, insn.rm, INTENT_READ)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    return push_value(cpu, insn, result, carries, carry, v | CAREFUL, <uint32_t>operand)


cdef inline bint may_move_eflags(CPU* cpu) noexcept nogil:
    """PUSHF and POPF: in virtual-8086 mode by the I/O privilege level."""
    return not cpu.eflags & FLAG_VM or cpu.eflags & FLAG_IOPL == FLAG_IOPL


cdef inline int pushf(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # RF and VM read as 0 (SDM vol. 2, PUSHF).
    cdef uint32_t eflags = cpu.eflags | arithmetic_flags(result, carries, carry)
    if unlikely(not may_move_eflags(cpu)):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    return push_value(cpu, insn, result, carries, carry, v | CAREFUL, eflags & ~<uint32_t>(FLAG_RF | FLAG_VM))


cdef inline int pop(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t value
    cdef uint8_t* at
    if v & ACCESS == CAREFUL:
        value = stack_read(cpu, insn, 0, size(v))
        if unlikely(faulted(value)):
            return fault(cpu, insn, result, carries, carry)
    else:
        at = direct(cpu, SS, cpu.gpr[ESP] if v & ACCESS == FLAT else stack_offset(cpu, 0), size(v), v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        value = load_from(at, size(v))
    # ESP first: POP ESP ends with what was popped.
    if v & ACCESS == FLAT:
        cpu.gpr[ESP] += size(v)
    else:
        set_stack_pointer(cpu, cpu.gpr[ESP] + size(v))
    set_register(cpu, insn.rm, <uint32_t>value, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int pop_operand(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # An address that uses ESP uses it as it is after the pop (SDM vol. 2, POP).
    cdef uint32_t esp = cpu.gpr[ESP]
    cdef uint64_t value = stack_read(cpu, insn, 0, size(v))
    if unlikely(faulted(value)):
        return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, esp + size(v))
    if is_memory(v):
        if unlikely(store(cpu, insn, v, NULL, <uint32_t>value)):
            cpu.gpr[ESP] = esp
            return fault(cpu, insn, result, carries, carry)
    else:
        set_register(cpu, insn.rm, <uint32_t>value, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int pop_segment(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # The whole slot is popped, and only the selector is read.
    cdef uint64_t selector = stack_read(cpu, insn, 0, size(v))
    # POP SS: by the size that the stack had.
    cdef uint32_t mask = cpu.stack_mask
    if unlikely(faulted(selector)) or load_segment(cpu, insn.reg, <uint32_t>selector & 0xFFFF):
        return fault(cpu, insn, result, carries, carry)
    cpu.gpr[ESP] = cpu.gpr[ESP] & ~mask | (cpu.gpr[ESP] + size(v)) & mask
    if insn.reg == SS:
        hold_off_events(cpu)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline int pusha(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int number
    # All the room is looked at before anything is stored.
    for number in range(EAX, EDI + 1):
        if unlikely(stack_probe(cpu, insn, -(number + 1) * size(v), size(v))):
            return fault(cpu, insn, result, carries, carry)
    for number in range(EAX, EDI + 1):
        if unlikely(stack_write(cpu, insn, -(number + 1) * size(v), get_register(cpu, number * 4, v), size(v))):
            return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, cpu.gpr[ESP] - 8 * size(v))
    return next(cpu, insn, result, carries, carry)


cdef inline int popa(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int number
    cdef uint64_t value
    # All are read before the first is written, so that a fault leaves none changed; EDI first, as a fault tells.
    for number in range(EDI, EAX - 1, -1):
        value = stack_read(cpu, insn, (EDI - number) * size(v), size(v))
        if unlikely(faulted(value)):
            return fault(cpu, insn, result, carries, carry)
    for number in range(EAX, EDI + 1):
        if number != ESP:
            value = stack_read(cpu, insn, (EDI - number) * size(v), size(v))
            set_register(cpu, number * 4, <uint32_t>value, v)
    set_stack_pointer(cpu, cpu.gpr[ESP] + 8 * size(v))
    return next(cpu, insn, result, carries, carry)


cdef inline int popf(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t value
    if unlikely(not may_move_eflags(cpu)):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    value = stack_read(cpu, insn, 0, size(v))
    if unlikely(faulted(value)):
        return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, cpu.gpr[ESP] + size(v))
    cpu.eflags &= ~<uint32_t>FLAG_RF
    pop_eflags(cpu, <uint32_t>value, size(v), cpu.cpl, 0)
    return jump(cpu, insn, cpu.result, cpu.carries, cpu.carry, next_eip(insn))


include "stack_instances.pxi"
