"""SLDT STR LLDT LTR VERR VERW LAR LSL ARPL: selectors, and what they may be used for (SDM vol. 3, 5.10)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.descriptors cimport (LDT, TSS16, TSS_BUSY, WRITABLE, Descriptor, dpl_of, find_descriptor, is_code,
                                  is_conforming, is_present, is_segment, limit_of, read_descriptor, read_system,
                                  system_type, write_system)
from x86core.flags cimport arithmetic_flags, carries_from, result_from
from x86core.operands cimport *
from x86core.segmentation cimport set_described, set_segment
from x86core.state cimport CPU, EXCEPTION_GP, EXCEPTION_NP, FLAG_CF, FLAG_ZF, Insn, LDTR, TR
from x86core.variant cimport *

cdef enum:
    # By type of system descriptor: which LAR and LSL know.
    LAR_TYPES = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12
    LSL_TYPES = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11
    ACCESS_RIGHTS = 0x00F0FF00


cdef inline uint64_t selector_operand(CPU* cpu, Insn* insn, int v, uint8_t offset) noexcept nogil:
    """A word, whatever the operand size; `faulted` tells a fault."""
    cpu.position = cpu.retired - insn.remaining     # the tables may lie in no RAM
    return value_of(cpu, insn, v & ~WIDTH | W16, offset, INTENT_READ)


cdef inline int answer(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, bint holds) noexcept nogil:
    """ZF tells; the other flags stay."""
    cdef uint32_t flags = arithmetic_flags(result, carries, carry) & ~<uint32_t>FLAG_ZF
    if holds:
        flags |= FLAG_ZF
    return next(cpu, insn, result_from(flags), carries_from(flags), flags & FLAG_CF)


cdef inline int store_selector(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                               int segment) noexcept nogil:
    # To memory a word, to a 32-bit register zero-extended.
    cdef uint32_t selector = cpu.segments[segment].selector
    if unlikely(set_value(cpu, insn, v & ~WIDTH | W16 if is_memory(v) else v, insn.rm, selector)):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


cdef inline int sldt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return store_selector(cpu, insn, result, carries, carry, v, LDTR)


cdef inline int str_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return store_selector(cpu, insn, result, carries, carry, v, TR)


cdef inline int load_system_segment(CPU* cpu, int segment, uint32_t selector) noexcept nogil:
    """LLDT and LTR; 0 or FAULT."""
    cdef Descriptor descriptor
    cdef uint32_t error_code = selector & 0xFFFC
    cdef int kind
    if not error_code:
        if segment == TR:
            return raise_exception(cpu, EXCEPTION_GP, 0)
        set_segment(cpu, LDTR, selector, 0, 0, 0)
        return 0
    if selector & 4:
        return raise_exception(cpu, EXCEPTION_GP, error_code)
    if read_descriptor(cpu, selector, EXCEPTION_GP, &descriptor):
        return FAULT
    kind = system_type(&descriptor)
    if is_segment(&descriptor) or (kind != LDT if segment == LDTR else kind & ~8 != TSS16):
        return raise_exception(cpu, EXCEPTION_GP, error_code)
    if not is_present(&descriptor):
        return raise_exception(cpu, EXCEPTION_NP, error_code)
    if segment == TR:
        descriptor.high |= TSS_BUSY << 8
        if write_system(cpu, descriptor.at + 5, descriptor.high >> 8 & 0xFF, 1):
            return FAULT
    set_described(cpu, segment, selector, &descriptor)
    return 0


cdef inline int load_from_operand(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                                  int segment) noexcept nogil:
    cdef uint64_t selector = selector_operand(cpu, insn, v, insn.rm)
    if unlikely(faulted(selector)) or load_system_segment(cpu, segment, <uint32_t>selector):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


cdef inline int lldt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_from_operand(cpu, insn, result, carries, carry, v, LDTR)


cdef inline int ltr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_from_operand(cpu, insn, result, carries, carry, v, TR)


cdef int look_up(CPU* cpu, uint32_t selector, Descriptor* descriptor) noexcept nogil:
    """1 with a descriptor that this privilege level may see, 0 without one, or FAULT."""
    cdef uint64_t low, high
    if not selector & 0xFFFC or not find_descriptor(cpu, selector, &descriptor.at):
        return 0
    low = read_system(cpu, descriptor.at, 4)
    if faulted(low):
        return FAULT
    high = read_system(cpu, descriptor.at + 4, 4)
    if faulted(high):
        return FAULT
    descriptor.low = <uint32_t>low
    descriptor.high = <uint32_t>high
    if is_code(descriptor) and is_conforming(descriptor):
        return 1
    return dpl_of(descriptor) >= max(cpu.cpl, selector & 3)


cdef inline int verify(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       bint write) noexcept nogil:
    cdef uint64_t selector = selector_operand(cpu, insn, v, insn.rm)
    cdef Descriptor descriptor
    cdef int found
    if unlikely(faulted(selector)):
        return fault(cpu, insn, result, carries, carry)
    found = look_up(cpu, <uint32_t>selector, &descriptor)
    if unlikely(found == FAULT):
        return fault(cpu, insn, result, carries, carry)
    if found:
        if not is_segment(&descriptor):
            found = False
        elif is_code(&descriptor):
            found = not write and descriptor.high >> 8 & WRITABLE != 0
        else:
            found = not write or descriptor.high >> 8 & WRITABLE != 0
    return answer(cpu, insn, result, carries, carry, found)


cdef inline int verr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return verify(cpu, insn, result, carries, carry, v, False)


cdef inline int verw(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return verify(cpu, insn, result, carries, carry, v, True)


cdef inline int describe_selector(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                                  bint limit) noexcept nogil:
    """LAR and LSL."""
    cdef uint64_t selector = selector_operand(cpu, insn, v, insn.reg)
    cdef Descriptor descriptor
    cdef int found
    if unlikely(faulted(selector)):
        return fault(cpu, insn, result, carries, carry)
    found = look_up(cpu, <uint32_t>selector, &descriptor)
    if unlikely(found == FAULT):
        return fault(cpu, insn, result, carries, carry)
    if found and not is_segment(&descriptor):
        found = (LSL_TYPES if limit else LAR_TYPES) >> system_type(&descriptor) & 1
    if found:
        set_register(cpu, insn.reg if is_memory(v) else insn.rm,
                     limit_of(&descriptor) if limit else descriptor.high & ACCESS_RIGHTS, v)
    return answer(cpu, insn, result, carries, carry, found)


cdef inline int lar(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return describe_selector(cpu, insn, result, carries, carry, v, False)


cdef inline int lsl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return describe_selector(cpu, insn, result, carries, carry, v, True)


cdef inline int arpl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # It stores only what changes: a segment that may but be read will do until then.
    cdef uint64_t operand = value_of(cpu, insn, v, insn.rm, INTENT_READ)
    cdef uint32_t requested = get_register(cpu, insn.reg, v) & 3
    cdef bint raised
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    raised = (<uint32_t>operand & 3) < requested
    if raised and set_value(cpu, insn, v, insn.rm, <uint32_t>operand & ~<uint32_t>3 | requested):
        return fault(cpu, insn, result, carries, carry)
    return answer(cpu, insn, result, carries, carry, raised)


include "protection_instances.pxi"
