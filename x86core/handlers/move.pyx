"""MOV in all its forms but control registers, MOVZX MOVSX CMOVcc LEA XLAT XCHG CBW CWD NOP PAUSE."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from x86core.flags cimport condition
from x86core.intrinsics cimport spin_pause
from x86core.operands cimport *
from x86core.pair cimport is_pair, run_pair
from x86core.segmentation cimport load_segment
from x86core.state cimport CPU, CS, EAX, EBX, EDX, EXCEPTION_UD, Insn, SS
from x86core.variant cimport *


cdef inline int mov(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int form = v & FORM
    cdef uint8_t* at
    cdef uint64_t operand
    if form == FORM_RR or form == FORM_RI:
        operand = get_register(cpu, insn.reg, v) if form == FORM_RR else insn.immediate
        if is_pair(v):
            return run_pair(cpu, insn, result, carries, carry, v, insn.rm, <uint32_t>operand)
        set_register(cpu, insn.rm, <uint32_t>operand, v)
        return next(cpu, insn, result, carries, carry)
    at = locate(cpu, insn, v, INTENT_READ if form == FORM_RM else INTENT_WRITE)
    if unlikely(at == NULL):
        return careful(cpu, insn, result, carries, carry)
    if form == FORM_RM:
        operand = load(cpu, insn, v, at, INTENT_READ)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
        if is_pair(v):
            return run_pair(cpu, insn, result, carries, carry, v, insn.reg, <uint32_t>operand)
        set_register(cpu, insn.reg, <uint32_t>operand, v)
        return next(cpu, insn, result, carries, carry)
    operand = get_register(cpu, insn.reg, v) if form == FORM_MR else insn.immediate
    if unlikely(store(cpu, insn, v, at, <uint32_t>operand)):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


cdef inline int extend(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       int source, bint is_signed) noexcept nogil:
    """MOVZX and MOVSX: `source` is the width variant of the narrow operand."""
    cdef int narrow = v & ~WIDTH | source
    cdef uint8_t* at
    cdef uint64_t operand
    cdef uint32_t value
    if is_memory(v):
        at = locate(cpu, insn, narrow, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        operand = load(cpu, insn, narrow, at, INTENT_READ)
        if unlikely(faulted(operand)):
            return fault(cpu, insn, result, carries, carry)
        value = <uint32_t>operand
    else:
        value = get_register(cpu, insn.reg, narrow)
    if is_signed:
        value = <uint32_t><int32_t><int8_t>value if source == W8 else <uint32_t><int32_t><int16_t>value
    set_register(cpu, insn.reg if is_memory(v) else insn.rm, value, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int movzx_byte(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return extend(cpu, insn, result, carries, carry, v, W8, False)


cdef inline int movzx_word(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return extend(cpu, insn, result, carries, carry, v, W16, False)


cdef inline int movsx_byte(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return extend(cpu, insn, result, carries, carry, v, W8, True)


cdef inline int movsx_word(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return extend(cpu, insn, result, carries, carry, v, W16, True)


cdef inline int lea(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t address = effective_address(cpu, insn, v)
    if is_pair(v):
        return run_pair(cpu, insn, result, carries, carry, v, insn.reg, address)
    set_register(cpu, insn.reg, address, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int xchg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    """Between registers; the memory form is locked without a prefix (atomic.pyx)."""
    cdef uint32_t first = get_register(cpu, insn.rm, v)
    set_register(cpu, insn.rm, get_register(cpu, insn.reg, v), v)
    set_register(cpu, insn.reg, first, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int mov_from_segment(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # To memory always a word; to a 32-bit register zero-extended, as since the Pentium Pro.
    cdef uint32_t selector
    if insn.reg > 5:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    selector = cpu.segments[insn.reg].selector
    if is_memory(v):
        if unlikely(store(cpu, insn, v & ~WIDTH | W16, NULL, selector)):
            return fault(cpu, insn, result, carries, carry)
    else:
        set_register(cpu, insn.rm, selector, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int mov_to_segment(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t operand
    if insn.reg > 5 or insn.reg == CS:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    operand = value_of(cpu, insn, v, insn.rm, INTENT_READ)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    if load_segment(cpu, insn.reg, <uint32_t>operand):
        return fault(cpu, insn, result, carries, carry)
    if insn.reg == SS:
        hold_off_events(cpu)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline int cbw(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if v & WIDTH == W16:
        set_register(cpu, EAX * 4, <uint32_t><int32_t><int8_t>cpu.gpr[EAX], v)
    else:
        cpu.gpr[EAX] = <uint32_t><int32_t><int16_t>cpu.gpr[EAX]
    return next(cpu, insn, result, carries, carry)


cdef inline int cwd(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int32_t value = <int16_t>cpu.gpr[EAX] if v & WIDTH == W16 else <int32_t>cpu.gpr[EAX]
    set_register(cpu, EDX * 4, <uint32_t>(value >> 31), v)
    return next(cpu, insn, result, carries, carry)


cdef inline int cmovcc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # The operand is read, and may fault, whether or not the condition holds.
    cdef uint64_t operand
    operand = value_of(cpu, insn, v, insn.reg, INTENT_READ)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    if condition(condition_of(v), result, carries, carry):
        set_register(cpu, insn.reg if is_memory(v) else insn.rm, <uint32_t>operand, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int xlat(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t offset = (cpu.gpr[EBX] + (cpu.gpr[EAX] & 0xFF)) & address_mask(insn)
    cdef uint64_t value = load_at(cpu, insn, insn.segment, offset, 1, INTENT_READ)
    if unlikely(faulted(value)):
        return fault(cpu, insn, result, carries, carry)
    (<uint8_t*>&cpu.gpr[EAX])[0] = <uint8_t>value
    return next(cpu, insn, result, carries, carry)


cdef inline int nop_operand(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return next(cpu, insn, result, carries, carry)


cdef inline int nop(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return next(cpu, insn, result, carries, carry)


cdef inline int pause(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    spin_pause()
    return next(cpu, insn, result, carries, carry)


include "move_instances.pxi"
