"""ENTER LEAVE BOUND: what compilers of high-level languages ask for."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from x86core.arithmetic cimport sign_extend
from x86core.operands cimport *
from x86core.paging cimport probe
from x86core.state cimport CPU, EBP, ESP, EXCEPTION_BR, Insn, SS
from x86core.variant cimport *


cdef inline int enter_frame(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # The nesting level, modulo 32, was put behind the size of the frame (SDM vol. 2, ENTER).
    cdef int32_t level = insn.displacement & 31
    cdef int32_t step = size(v)
    # All of ESP, where the operand is 32 bits wide and the stack is not.
    cdef uint32_t frame = cpu.gpr[ESP] & ~cpu.stack_mask | stack_offset(cpu, -step)
    cdef uint32_t last = stack_offset(cpu, -(level + 1) * step - <int32_t>insn.immediate)
    cdef uint64_t link
    cdef int32_t depth
    # A page fault as by a store at the final stack pointer; then all is looked at before anything is stored.
    if unlikely(probe(cpu, cpu.segments[SS].base + last, cpu.segments[SS].base + last, INTENT_WRITE)):
        return fault(cpu, insn, result, carries, carry)
    for depth in range(level + 1):
        if unlikely(stack_probe(cpu, insn, -(depth + 1) * step, step)):
            return fault(cpu, insn, result, carries, carry)
        if 0 < depth < level and unlikely(probe_at(
                cpu, insn, SS, (cpu.gpr[EBP] - depth * step) & cpu.stack_mask, step, INTENT_READ)):
            return fault(cpu, insn, result, carries, carry)
    if unlikely(stack_write(cpu, insn, -step, cpu.gpr[EBP], size(v))):
        return fault(cpu, insn, result, carries, carry)
    for depth in range(1, level):
        link = load_at(cpu, insn, SS, (cpu.gpr[EBP] - depth * step) & cpu.stack_mask, size(v), INTENT_READ)
        if unlikely(faulted(link)) or unlikely(stack_write(cpu, insn, -(depth + 1) * step, <uint32_t>link, size(v))):
            return fault(cpu, insn, result, carries, carry)
    if level and unlikely(stack_write(cpu, insn, -(level + 1) * step, frame, size(v))):
        return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, cpu.gpr[ESP] - (level + 1) * step - insn.immediate)
    set_register(cpu, EBP * 4, frame, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int leave_frame(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t frame = cpu.gpr[EBP] & cpu.stack_mask
    cdef uint64_t value
    cdef uint8_t* at
    if v & ACCESS == CAREFUL:
        value = load_at(cpu, insn, SS, frame, size(v), INTENT_READ)
        if unlikely(faulted(value)):
            return fault(cpu, insn, result, carries, carry)
    else:
        at = direct(cpu, SS, frame, size(v), v, INTENT_READ)
        if unlikely(at == NULL):
            return careful(cpu, insn, result, carries, carry)
        value = load_from(at, size(v))
    set_stack_pointer(cpu, frame + size(v))
    set_register(cpu, EBP * 4, <uint32_t>value, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int bound(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t offset = effective_address(cpu, insn, v)
    cdef int32_t index = sign_extend(get_register(cpu, insn.reg, v), v)
    cdef uint64_t lower = load_at(cpu, insn, insn.segment, offset, size(v), INTENT_READ)
    cdef uint64_t upper
    if unlikely(faulted(lower)):
        return fault(cpu, insn, result, carries, carry)
    upper = load_at(cpu, insn, insn.segment, (offset + size(v)) & address_mask(insn), size(v), INTENT_READ)
    if unlikely(faulted(upper)):
        return fault(cpu, insn, result, carries, carry)
    if index < sign_extend(<uint32_t>lower, v) or index > sign_extend(<uint32_t>upper, v):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_BR)
    return next(cpu, insn, result, carries, carry)


include "frame_instances.pxi"
