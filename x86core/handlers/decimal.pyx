"""DAA DAS AAA AAS AAM AAD: decimal arithmetic in AL and AH (SDM vol. 2)."""
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t

from x86core.operands cimport *
from x86core.state cimport CPU, EAX, EXCEPTION_DE, FLAG_AF, Insn
from x86core.variant cimport *


cdef inline uint8_t al(CPU* cpu) noexcept nogil:
    return <uint8_t>cpu.gpr[EAX]


cdef inline void set_ax(CPU* cpu, uint32_t high, uint32_t low) noexcept nogil:
    (<uint16_t*>&cpu.gpr[EAX])[0] = <uint16_t>(high << 8 | low & 0xFF)


cdef inline int after_decimal(CPU* cpu, Insn* insn, uint32_t value, bint adjust, bint carry) noexcept nogil:
    """SF ZF PF by AL, AF and CF as given; OF, undefined, is 0."""
    return next(cpu, insn, <int8_t>value, (FLAG_AF if adjust else 0) | <uint32_t>carry << 31, carry)


cdef inline int adjust_packed(CPU* cpu, Insn* insn, uint32_t carries, uint32_t carry, bint subtract) noexcept nogil:
    """DAA and DAS."""
    cdef uint32_t old = al(cpu)
    cdef uint32_t value = old
    cdef bint adjust = (old & 0xF) > 9 or carries & FLAG_AF != 0
    cdef bint high = old > 0x99 or carry
    cdef uint32_t amount = (6 if adjust else 0) + (0x60 if high else 0)
    value = old - amount if subtract else old + amount
    if adjust and subtract and old < 6:
        high = True                 # the low digit borrowed from the whole
    cpu.gpr[EAX] = cpu.gpr[EAX] & 0xFFFFFF00U | value & 0xFF
    return after_decimal(cpu, insn, value, adjust, high)


cdef inline int daa(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return adjust_packed(cpu, insn, carries, carry, False)


cdef inline int das(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return adjust_packed(cpu, insn, carries, carry, True)


cdef inline int adjust_unpacked(CPU* cpu, Insn* insn, uint32_t carries, bint subtract) noexcept nogil:
    """AAA and AAS."""
    cdef bint adjust = (al(cpu) & 0xF) > 9 or carries & FLAG_AF != 0
    cdef uint32_t ax = cpu.gpr[EAX] & 0xFFFF
    if adjust:
        ax = ax - 0x106 if subtract else ax + 0x106
    set_ax(cpu, ax >> 8, ax & 0xF)
    return after_decimal(cpu, insn, ax & 0xF, adjust, adjust)


cdef inline int aaa(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return adjust_unpacked(cpu, insn, carries, False)


cdef inline int aas(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return adjust_unpacked(cpu, insn, carries, True)


cdef inline int aam(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t base = insn.immediate & 0xFF
    if unlikely(base == 0):
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_DE)
    set_ax(cpu, al(cpu) / base, al(cpu) % base)
    return after_decimal(cpu, insn, al(cpu), False, False)


cdef inline int aad(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    set_ax(cpu, 0, al(cpu) + (cpu.gpr[EAX] >> 8 & 0xFF) * insn.immediate)
    return after_decimal(cpu, insn, al(cpu), False, False)


include "decimal_instances.pxi"
