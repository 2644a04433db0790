"""MOV to and from control and debug registers, LGDT LIDT SGDT SIDT, LMSW SMSW CLTS, CPUID RDTSC RDMSR WRMSR."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.cpuid cimport Leaf, cpuid_leaf
from x86core.msr cimport read_msr, timestamp, write_msr
from x86core.operands cimport *
from x86core.segmentation cimport update_context
from x86core.state cimport (CPU, CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS,
                            CR0_WP, EAX, EBX, ECX, EDX, EXCEPTION_GP, EXCEPTION_UD, Insn)
from x86core.tlb cimport tlb_flush, tlb_flush_page
from x86core.variant cimport *

cdef enum:
    CR0_WRITABLE = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD
    LMSW_BITS = CR0_PE | CR0_MP | CR0_EM | CR0_TS
    # SDM vol. 3, 17.2.3 and 17.2.4.
    DR6_WRITABLE = 0xE00F
    DR6_ONES = 0xFFFF0FF0U
    DR7_WRITABLE = 0xFFFF2BFFU
    DR7_ONES = 0x400


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


cdef inline int load_table(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                           uint32_t* limit, uint32_t* base) noexcept nogil:
    """LGDT and LIDT: a limit and behind it a base, of 24 bits with 16-bit operands."""
    cdef uint32_t offset = effective_address(cpu, insn, v)
    cdef uint64_t new_limit = load_at(cpu, insn, insn.segment, offset, 2, INTENT_READ)
    cdef uint64_t new_base
    if unlikely(faulted(new_limit)):
        return fault(cpu, insn, result, carries, carry)
    new_base = load_at(cpu, insn, insn.segment, (offset + 2) & address_mask(insn), 4, INTENT_READ)
    if unlikely(faulted(new_base)):
        return fault(cpu, insn, result, carries, carry)
    limit[0] = <uint32_t>new_limit
    base[0] = <uint32_t>new_base & (0xFFFFFF if v & WIDTH == W16 else 0xFFFFFFFFU)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int lgdt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_table(cpu, insn, result, carries, carry, v, &cpu.gdt_limit, &cpu.gdt_base)


cdef inline int lidt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return load_table(cpu, insn, result, carries, carry, v, &cpu.idt_limit, &cpu.idt_base)


cdef inline int cpuid(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef Leaf leaf = cpuid_leaf(cpu, cpu.gpr[EAX], cpu.gpr[ECX])
    cpu.gpr[EAX] = leaf.eax
    cpu.gpr[EBX] = leaf.ebx
    cpu.gpr[ECX] = leaf.ecx
    cpu.gpr[EDX] = leaf.edx
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int rdtsc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint64_t now = timestamp(cpu)
    cpu.gpr[EAX] = <uint32_t>now
    cpu.gpr[EDX] = <uint32_t>(now >> 32)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int rdmsr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if read_msr(cpu, cpu.gpr[ECX]):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


cdef inline int wrmsr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if write_msr(cpu, cpu.gpr[ECX], <uint64_t>cpu.gpr[EDX] << 32 | cpu.gpr[EAX]):
        return fault(cpu, insn, result, carries, carry)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int mov_from_debug(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # DR4 and DR5 are other names of DR6 and DR7.
    set_register(cpu, insn.rm, cpu.dr[insn.reg | (2 if insn.reg & 4 else 0)], W32)
    return next(cpu, insn, result, carries, carry)


cdef inline int mov_to_debug(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int number = insn.reg | (2 if insn.reg & 4 else 0)
    cdef uint32_t value = get_register(cpu, insn.rm, W32)
    if number == 6:
        value = value & DR6_WRITABLE | DR6_ONES
    elif number == 7:
        value = value & DR7_WRITABLE | DR7_ONES
    cpu.dr[number] = value
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int store_table(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                            uint32_t limit, uint32_t base) noexcept nogil:
    """SGDT and SIDT: all 32 bits of the base, whatever the operand size."""
    cdef uint32_t offset = effective_address(cpu, insn, v)
    # The second part first: if it cannot be stored, nothing is.
    if store_at(cpu, insn, insn.segment, (offset + 2) & address_mask(insn), base, 4) or store_at(
            cpu, insn, insn.segment, offset, limit, 2):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, result, carries, carry)


cdef inline int sgdt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return store_table(cpu, insn, result, carries, carry, v, cpu.gdt_limit, cpu.gdt_base)


cdef inline int sidt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return store_table(cpu, insn, result, carries, carry, v, cpu.idt_limit, cpu.idt_base)


cdef inline int smsw(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # To memory a word, whatever the operand size.
    if is_memory(v):
        if unlikely(store(cpu, insn, v & ~WIDTH | W16, NULL, cpu.cr0 & 0xFFFF)):
            return fault(cpu, insn, result, carries, carry)
    else:
        set_register(cpu, insn.rm, cpu.cr0, v)
    return next(cpu, insn, result, carries, carry)


cdef inline int lmsw(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # PE MP EM TS; PE cannot be cleared.
    cdef uint64_t operand
    operand = value_of(cpu, insn, v, insn.rm, INTENT_READ)
    if unlikely(faulted(operand)):
        return fault(cpu, insn, result, carries, carry)
    cpu.cr0 = cpu.cr0 & ~<uint32_t>LMSW_BITS | cpu.cr0 & CR0_PE | <uint32_t>operand & LMSW_BITS
    update_context(cpu)
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


cdef inline int clts(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cpu.cr0 &= ~<uint32_t>CR0_TS
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int invd(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    """INVD and WBINVD: there is no cache whose state a guest could see."""
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int invlpg(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    tlb_flush_page(cpu, cpu.segments[insn.segment].base + effective_address(cpu, insn, v))
    return follow_fallthrough(cpu, insn, result, carries, carry)


include "system_instances.pxi"
