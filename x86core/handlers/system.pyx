"""MOV to and from control and debug registers, LGDT LIDT SGDT SIDT, LMSW SMSW CLTS, CPUID RDTSC RDMSR WRMSR."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.control cimport write_cr0, write_cr3, write_cr4
from x86core.cpuid cimport Leaf, cpuid_leaf
from x86core.debug_registers cimport (DR6_BD, DR6_ONES, DR6_WRITABLE, DR7_GD, DR7_ONES, DR7_WRITABLE,
                                      note_debug_exception, update_debug_registers)
from x86core.msr cimport read_msr, timestamp, write_msr
from x86core.operands cimport *
from x86core.paging cimport flush_translation
from x86core.segmentation cimport update_context
from x86core.state cimport (CPU, CR0_EM, CR0_MP, CR0_PE, CR0_TS, CR4_DE, CR4_TSD, EAX, EBX, ECX, EDX, EXCEPTION_DB,
                            EXCEPTION_GP, EXCEPTION_UD, NO_EXCEPTION, Insn)
from x86core.variant cimport *

cdef enum:
    LMSW_BITS = CR0_PE | CR0_MP | CR0_EM | CR0_TS


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
    cdef int failed = 0
    if insn.reg == 0:
        failed = write_cr0(cpu, value)
    elif insn.reg == 2:
        cpu.cr2 = value
    elif insn.reg == 3:
        write_cr3(cpu, value)
    elif insn.reg == 4:
        failed = write_cr4(cpu, value)
    else:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)
    if unlikely(failed):
        return fault(cpu, insn, result, carries, carry)
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
    cdef uint64_t now
    if cpu.cr4 & CR4_TSD and cpu.cpl:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    now = timestamp(cpu)
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


cdef inline int debug_register(Insn* insn) noexcept nogil:
    """DR4 and DR5 are other names of DR6 and DR7."""
    return insn.reg | (2 if insn.reg & 4 else 0)


cdef inline uint32_t debug_register_exception(CPU* cpu, Insn* insn) noexcept nogil:
    """What an access to a debug register raises: #UD for another name with CR4.DE, #DB under DR7.GD, or NO_EXCEPTION."""
    if cpu.cr4 & CR4_DE and insn.reg & 6 == 4:
        return EXCEPTION_UD
    if cpu.dr[7] & DR7_GD:
        note_debug_exception(cpu, DR6_BD)
        return EXCEPTION_DB
    return NO_EXCEPTION


cdef inline int mov_from_debug(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t vector = debug_register_exception(cpu, insn)
    if unlikely(vector != NO_EXCEPTION):
        return raise_at(cpu, insn, result, carries, carry, vector)
    set_register(cpu, insn.rm, cpu.dr[debug_register(insn)], W32)
    return next(cpu, insn, result, carries, carry)


cdef inline int mov_to_debug(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int number = debug_register(insn)
    cdef uint32_t value = get_register(cpu, insn.rm, W32)
    cdef uint32_t vector = debug_register_exception(cpu, insn)
    if unlikely(vector != NO_EXCEPTION):
        return raise_at(cpu, insn, result, carries, carry, vector)
    if number == 6:
        value = value & DR6_WRITABLE | DR6_ONES
    elif number == 7:
        value = value & DR7_WRITABLE | DR7_ONES
    cpu.dr[number] = value
    if number != 6:
        update_debug_registers(cpu)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int store_table(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                            uint32_t limit, uint32_t base) noexcept nogil:
    """SGDT and SIDT: all 32 bits of the base, whatever the operand size."""
    cdef uint32_t offset = effective_address(cpu, insn, v)
    # If one part cannot be stored, nothing is.
    if probe_at(cpu, insn, insn.segment, offset, 2, INTENT_WRITE) or store_at(
            cpu, insn, insn.segment, (offset + 2) & address_mask(insn), base, 4) or store_at(
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
    flush_translation(cpu, cpu.segments[insn.segment].base + effective_address(cpu, insn, v))
    return jump(cpu, insn, result, carries, carry, next_eip(insn))


include "system_instances.pxi"
