"""BT BTS BTR BTC BSF BSR BSWAP SHLD SHRD."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from x86core.arithmetic cimport sign_extend
from x86core.intrinsics cimport leading_zeros, swap_bytes, trailing_zeros
from x86core.locked cimport finish_atomic, locate_atomic, swap_value
from x86core.operands cimport *
from x86core.state cimport CPU, ECX, Insn, NO_EXCEPTION
from x86core.variant cimport *

cdef enum Change:
    NOTHING
    SET
    RESET
    COMPLEMENT


cdef inline uint32_t changed(uint32_t value, uint32_t bit, int change) noexcept nogil:
    if change == SET:
        return value | <uint32_t>1 << bit
    if change == RESET:
        return value & ~(<uint32_t>1 << bit)
    if change == COMPLEMENT:
        return value ^ <uint32_t>1 << bit
    return value


cdef inline uint32_t bit_index(CPU* cpu, Insn* insn, int v) noexcept nogil:
    """The bit operand; one in a register is signed and may reach beyond the word that is addressed."""
    if v & FORM == FORM_RI or v & FORM == FORM_MI:
        return insn.immediate & (width(v) - 1)
    return <uint32_t>sign_extend(get_register(cpu, insn.reg, v), v)


cdef inline uint32_t bit_string_offset(CPU* cpu, Insn* insn, uint32_t bit, int v) noexcept nogil:
    """Offset of the word that holds a bit (SDM vol. 1, 3.1.1.9 bit strings)."""
    cdef int shift = 5 if v & WIDTH == W32 else 4
    return (effective_address(cpu, insn, v) + <uint32_t>(<int32_t>bit >> shift) * size(v)) & address_mask(insn)


cdef inline int after_bit(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                          uint32_t value) noexcept nogil:
    """CF is the bit; OF stands relative to CF, so that it stays what it is."""
    return next(cpu, insn, result, carries ^ (carry ^ value) << 31, value)


cdef inline int bit_test(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                         int change) noexcept nogil:
    cdef uint32_t bit = bit_index(cpu, insn, v)
    cdef uint32_t offset, value
    cdef uint64_t loaded
    if is_memory(v):
        offset = bit_string_offset(cpu, insn, bit, v)
        bit &= width(v) - 1
        loaded = load_at(cpu, insn, insn.segment, offset, size(v), INTENT_READ if change == NOTHING else INTENT_WRITE)
        if unlikely(faulted(loaded)):
            return fault(cpu, insn, result, carries, carry)
        value = <uint32_t>loaded
        if change != NOTHING:
            if unlikely(store_at(cpu, insn, insn.segment, offset, changed(value, bit, change), size(v))):
                return fault(cpu, insn, result, carries, carry)
    else:
        bit &= width(v) - 1
        value = get_register(cpu, insn.rm, v)
        if change != NOTHING:
            set_register(cpu, insn.rm, changed(value, bit, change), v)
    return after_bit(cpu, insn, result, carries, carry, value >> bit & 1)


cdef inline int locked_bit_test(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                                int change) noexcept nogil:
    cdef uint32_t bit = bit_index(cpu, insn, v)
    cdef uint32_t offset = bit_string_offset(cpu, insn, bit, v)
    cdef uint8_t* at = locate_atomic(cpu, insn, offset, size(v))
    cdef uint32_t value
    bit &= width(v) - 1
    if unlikely(at == NULL):
        if cpu.exception != NO_EXCEPTION:
            return fault(cpu, insn, result, carries, carry)
        return bit_test(cpu, insn, result, carries, carry, v, change)
    while True:
        value = load_from(at, size(v))
        if likely(swap_value(at, value, changed(value, bit, change), v) == value):
            break
    finish_atomic(cpu, size(v))
    return after_bit(cpu, insn, result, carries, carry, value >> bit & 1)


cdef inline int bt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return bit_test(cpu, insn, result, carries, carry, v, NOTHING)


cdef inline int bts(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return bit_test(cpu, insn, result, carries, carry, v, SET)


cdef inline int btr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return bit_test(cpu, insn, result, carries, carry, v, RESET)


cdef inline int btc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return bit_test(cpu, insn, result, carries, carry, v, COMPLEMENT)


cdef inline int locked_bts(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked_bit_test(cpu, insn, result, carries, carry, v, SET)


cdef inline int locked_btr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked_bit_test(cpu, insn, result, carries, carry, v, RESET)


cdef inline int locked_btc(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return locked_bit_test(cpu, insn, result, carries, carry, v, COMPLEMENT)


cdef inline int scan(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                     bint reverse) noexcept nogil:
    """BSF and BSR. A source of 0 sets ZF and leaves the destination, as every processor does."""
    cdef uint64_t source
    cdef uint32_t bit
    source = value_of(cpu, insn, v, insn.reg, INTENT_READ)
    if unlikely(faulted(source)):
        return fault(cpu, insn, result, carries, carry)
    if source:
        bit = 31 - leading_zeros(<uint32_t>source) if reverse else trailing_zeros(<uint32_t>source)
        set_register(cpu, insn.reg if is_memory(v) else insn.rm, bit, v)
    return next(cpu, insn, sign_extend(<uint32_t>source, v), 0, 0)


cdef inline int bsf(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return scan(cpu, insn, result, carries, carry, v, False)


cdef inline int bsr(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return scan(cpu, insn, result, carries, carry, v, True)


cdef inline int bswap(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    # Of a 16-bit register undefined; processors leave 0.
    if v & WIDTH == W16:
        set_register(cpu, insn.rm, 0, v)
    else:
        set_register(cpu, insn.rm, swap_bytes(get_register(cpu, insn.rm, v)), v)
    return next(cpu, insn, result, carries, carry)


cdef inline int double_shift(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                             uint32_t count, bint right) noexcept nogil:
    """SHLD and SHRD. 16-bit operands take counts beyond 16 from the destination again, as since the P6."""
    cdef uint64_t loaded, wide
    cdef uint32_t a, b, r, carry_out, overflows
    count &= 31
    loaded = value_of(cpu, insn, v, insn.rm, INTENT_WRITE)
    if unlikely(faulted(loaded)):
        return fault(cpu, insn, result, carries, carry)
    a = <uint32_t>loaded
    b = get_register(cpu, insn.reg, v)
    if count == 0:
        if is_memory(v) and unlikely(store(cpu, insn, v, NULL, a)):
            return fault(cpu, insn, result, carries, carry)
        return next(cpu, insn, result, carries, carry)
    if v & WIDTH == W16:
        wide = <uint64_t>a << 32 | b << 16 | a
        if right:
            r = <uint32_t>(wide >> count) & 0xFFFF
            carry_out = wide >> (count - 1) & 1
        else:
            r = <uint32_t>(wide << count >> 32) & 0xFFFF
            carry_out = wide >> (48 - count) & 1
    elif right:
        r = <uint32_t>((<uint64_t>b << 32 | a) >> count)
        carry_out = a >> (count - 1) & 1
    else:
        r = <uint32_t>((<uint64_t>a << 32 | b) << count >> 32)
        carry_out = a >> (32 - count) & 1
    overflows = (a ^ r) >> (width(v) - 1) & 1
    if unlikely(set_value(cpu, insn, v, insn.rm, r)):
        return fault(cpu, insn, result, carries, carry)
    return next(cpu, insn, sign_extend(r, v), (overflows ^ carry_out) << 31, carry_out)


cdef inline int shld(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return double_shift(cpu, insn, result, carries, carry, v, insn.immediate, False)


cdef inline int shld_cl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return double_shift(cpu, insn, result, carries, carry, v, cpu.gpr[ECX], False)


cdef inline int shrd(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return double_shift(cpu, insn, result, carries, carry, v, insn.immediate, True)


cdef inline int shrd_cl(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return double_shift(cpu, insn, result, carries, carry, v, cpu.gpr[ECX], True)


include "bits_instances.pxi"
