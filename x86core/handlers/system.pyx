"""MOV to and from control registers, LGDT LIDT, CPUID RDTSC."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.cpuid cimport cpuid_leaf
from x86core.intrinsics cimport monotonic_nanoseconds
from x86core.operands cimport *
from x86core.segmentation cimport update_context
from x86core.state cimport (CPU, CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS,
                            CR0_WP, EAX, EBX, ECX, EDX, EXCEPTION_GP, EXCEPTION_UD, Insn)
from x86core.tlb cimport tlb_flush
from x86core.variant cimport *

cdef enum:
    CR0_WRITABLE = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD


cdef inline int mov_from_control(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t value
    if insn.reg == 0:
        value = cpu.cr0
    elif insn.reg == 2:
        value = cpu.cr2
    elif insn.reg == 3:
        value = cpu.cr3
    elif insn.reg == 4:
        value = cpu.cr4
    else:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    set_register(cpu, insn.rm, value, W32)
    return next(cpu, insn, result, carries, carry)


cdef inline int mov_to_control(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t value = get_register(cpu, insn.rm, W32)
    if insn.reg == 0:
        # Paging does not exist yet: turning it on is refused rather than ignored.
        if value & CR0_PG or value & (CR0_NW | CR0_CD) == CR0_NW:
            return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
        cpu.cr0 = value & CR0_WRITABLE | CR0_ET
        update_context(cpu)
    elif insn.reg == 2:
        cpu.cr2 = value
    elif insn.reg == 3:
        cpu.cr3 = value
        tlb_flush(cpu)
    elif insn.reg == 4:
        if value:
            return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    else:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline uint64_t table_base(CPU* cpu, Insn* insn, int v) noexcept nogil:
    """The base in a pseudo-descriptor; 24 bits with 16-bit operands. Its limit stands before it."""
    cdef uint32_t offset = (effective_address(cpu, insn, v) + 2) & address_mask(insn)
    cdef uint64_t base = load_at(cpu, insn, insn.segment, offset, 4, INTENT_READ)
    if not faulted(base) and v & WIDTH == W16:
        base &= 0xFFFFFF
    return base


cdef inline int lgdt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t limit = load(cpu, insn, v & ~WIDTH | W16, NULL, INTENT_READ)
    cdef uint64_t base
    if unlikely(faulted(limit)):
        return fault(cpu, insn, result, carries, carry)
    base = table_base(cpu, insn, v)
    if unlikely(faulted(base)):
        return fault(cpu, insn, result, carries, carry)
    cpu.gdt_limit = <uint32_t>limit
    cpu.gdt_base = <uint32_t>base
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int lidt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t limit = load(cpu, insn, v & ~WIDTH | W16, NULL, INTENT_READ)
    cdef uint64_t base
    if unlikely(faulted(limit)):
        return fault(cpu, insn, result, carries, carry)
    base = table_base(cpu, insn, v)
    if unlikely(faulted(base)):
        return fault(cpu, insn, result, carries, carry)
    cpu.idt_limit = <uint32_t>limit
    cpu.idt_base = <uint32_t>base
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int cpuid(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t leaf = cpu.gpr[EAX]
    cdef int part
    cdef int[4] order
    order[0] = EAX
    order[1] = EBX
    order[2] = ECX
    order[3] = EDX
    for part in range(4):
        cpu.gpr[order[part]] = cpuid_leaf(cpu, leaf, part)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int rdtsc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # One tick is one nanosecond, the same on every vCPU of a machine.
    cdef uint64_t now = monotonic_nanoseconds() - cpu.ram.epoch
    cpu.gpr[EAX] = <uint32_t>now
    cpu.gpr[EDX] = <uint32_t>(now >> 32)
    return follow_fallthrough(cpu, insn, result, carries, carry)


include "system_instances.pxi"
