"""CLC STC CMC LAHF SAHF SALC CLD STD CLI STI, and what may not be executed: #UD, #GP."""
from libc.stdint cimport int64_t, uint8_t, uint32_t

from x86core.interrupts cimport interrupt_pending, window_requested
from x86core.flags cimport arithmetic_flags, carries_from, result_from
from x86core.intrinsics cimport atomic_store
from x86core.operands cimport *
from x86core.state cimport (CPU, EAX, EXCEPTION_GP, EXCEPTION_UD, FLAG_CF, FLAG_DF, FLAG_IF, FLAG_OF, FLAGS_ALWAYS,
                            FLAGS_ARITHMETIC, Insn)
from x86core.variant cimport *

cdef enum:
    FLAGS_OF_AH = FLAGS_ARITHMETIC & 0xFF


cdef inline int set_carry(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                          uint32_t value) noexcept nogil:
    """OF stands relative to CF, so that it stays what it is."""
    return next(cpu, insn, result, carries ^ (carry ^ value) << 31, value)


cdef inline int clc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return set_carry(cpu, insn, result, carries, carry, 0)


cdef inline int stc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return set_carry(cpu, insn, result, carries, carry, 1)


cdef inline int cmc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return set_carry(cpu, insn, result, carries, carry, carry ^ 1)


cdef inline int lahf(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t flags = arithmetic_flags(result, carries, carry) | FLAGS_ALWAYS
    (<uint8_t*>&cpu.gpr[EAX])[1] = <uint8_t>flags
    return next(cpu, insn, result, carries, carry)


cdef inline int sahf(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # SF ZF AF PF CF from AH; OF stays.
    cdef uint32_t flags = arithmetic_flags(result, carries, carry) & FLAG_OF | cpu.gpr[EAX] >> 8 & FLAGS_OF_AH
    return next(cpu, insn, result_from(flags), carries_from(flags), flags & FLAG_CF)


cdef inline int salc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    (<uint8_t*>&cpu.gpr[EAX])[0] = 0xFF if carry else 0
    return next(cpu, insn, result, carries, carry)


cdef inline int cld(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cpu.eflags &= ~<uint32_t>FLAG_DF
    return next(cpu, insn, result, carries, carry)


cdef inline int std(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cpu.eflags |= FLAG_DF
    return next(cpu, insn, result, carries, carry)


cdef inline bint may_change_if(CPU* cpu) noexcept nogil:
    """CLI and STI: by the I/O privilege level."""
    return cpu.cpl <= cpu.eflags >> 12 & 3


cdef inline int cli(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if unlikely(not may_change_if(cpu)):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    cpu.eflags &= ~<uint32_t>FLAG_IF
    return next(cpu, insn, result, carries, carry)


cdef inline int sti(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if unlikely(not may_change_if(cpu)):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    # Interrupts are held off for one more instruction, which the decoder puts into the same block.
    if not cpu.eflags & FLAG_IF:
        cpu.eflags |= FLAG_IF
        cpu.shadow = cpu.retired - insn.remaining + 1
        if interrupt_pending(cpu) or window_requested(cpu):
            atomic_store(&cpu.stop_at, 0)
    return next(cpu, insn, result, carries, carry)


cdef inline int undefined(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return raise_at(cpu, insn, result, carries, carry, EXCEPTION_UD)


cdef inline int forbidden(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    """What is privileged, outside privilege level 0."""
    return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)


cdef inline int too_long(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)


include "flag_instances.pxi"
