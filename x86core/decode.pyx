"""From bytes to one decoded instruction: prefixes, opcode, ModRM, SIB, displacement, immediate."""
from libc.stdint cimport int8_t, int16_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from x86core.opcodes cimport (BY_OPERAND_SIZE, BYTE, FAR_POINTER, LOW_NIBBLE, MODRM_REG,
                              MODRM_RM, NO_REGISTER, OFFSET, ON_CAREFUL, ON_FLAT, ON_INDEXED, ON_LOCKED, ON_SEGMENTED, ONE,
                              OPCODE_LOW, REG_FIELD, REGISTER, RELATIVE_BY_SIZE, RELATIVE_BYTE, SEGMENT_OF_OPCODE,
                              SIGNED_BYTE, WORD, WORD_AND_BYTE, Entry, after_f3, one_byte, two_byte, two_byte_after)
from x86core.state cimport (DS, EBP, EBX, ESP, FS, MODE_CODE32, MODE_CPL, MODE_FLAT, MODE_PROTECTED, MODE_STACK32,
                            MODE_VIRTUAL8086, SS, Insn)


cdef uint32_t take(Bytes* code, int size) noexcept nogil:
    """The next little-endian number of the instruction."""
    cdef uint32_t value = 0
    cdef int byte
    if code.used + size > code.available:
        code.short = True
        return 0
    for byte in range(size):
        value |= <uint32_t>code.at[code.used + byte] << 8 * byte
    code.used += size
    return value


cdef uint8_t register_offset(int number, bint byte) noexcept nogil:
    if byte and number >= 4:
        return (number - 4) * 4 + 1
    return number * 4


cdef enum:
    ABSENT = 32                 # byte offset of CPU.zero


cdef void take_address16(Bytes* code, Insn* insn, int mod, int rm) noexcept nogil:
    """Memory operand of 16-bit addressing (SDM vol. 2, table 2-1)."""
    insn.base = base16(rm)
    insn.index = ABSENT
    if rm < 4:
        insn.index = register_offset(6 + (rm & 1), False)
    if rm == 2 or rm == 3 or (rm == 6 and mod != 0):
        insn.segment = SS
    if mod == 0 and rm == 6:
        insn.base = ABSENT
        insn.displacement = take(code, 2)
    elif mod == 1:
        insn.displacement = <int8_t>take(code, 1)
    elif mod == 2:
        insn.displacement = <int16_t>take(code, 2)


cdef uint8_t base16(int rm) noexcept nogil:
    if rm == 2 or rm == 3 or rm == 6:
        return EBP * 4
    if rm == 4 or rm == 5:
        return (rm + 2) * 4
    return EBX * 4


cdef void take_address32(Bytes* code, Insn* insn, int mod, int rm) noexcept nogil:
    """Memory operand of 32-bit addressing (SDM vol. 2, tables 2-2 and 2-3)."""
    cdef int base = rm
    cdef int sib
    insn.index = ABSENT
    if rm == ESP:
        sib = take(code, 1)
        base = sib & 7
        insn.scale = sib >> 6
        if sib >> 3 & 7 != ESP:
            insn.index = register_offset(sib >> 3 & 7, False)
    if mod == 0 and base == EBP:
        insn.base = ABSENT
        insn.displacement = take(code, 4)
        return
    insn.base = register_offset(base, False)
    if base == ESP or base == EBP:
        insn.segment = SS
    if mod == 1:
        insn.displacement = <int8_t>take(code, 1)
    elif mod == 2:
        insn.displacement = take(code, 4)


cdef uint8_t source_offset(int source, bint byte, int opcode, int modrm) noexcept nogil:
    if source == MODRM_RM:
        return register_offset(modrm & 7, byte)
    if source == MODRM_REG:
        return register_offset(modrm >> 3 & 7, byte)
    if source == OPCODE_LOW:
        return register_offset(opcode & 7, byte)
    return 0                        # the accumulator


cdef void take_immediate(Bytes* code, Insn* insn, Decoded* decoded, int kind) noexcept nogil:
    cdef int large_size = 4 if decoded.large else 2
    if kind == BYTE:
        insn.immediate = take(code, 1)
    elif kind == SIGNED_BYTE:
        insn.immediate = <uint32_t><int8_t>take(code, 1)
    elif kind == WORD:
        insn.immediate = take(code, 2)
    elif kind == WORD_AND_BYTE:
        insn.immediate = take(code, 2)
        insn.displacement = take(code, 1)
    elif kind == BY_OPERAND_SIZE:
        insn.immediate = take(code, large_size)
    elif kind == ONE:
        insn.immediate = 1
    elif kind == FAR_POINTER:
        insn.immediate = take(code, large_size)
        insn.displacement = take(code, 2)
    elif kind == OFFSET:
        insn.displacement = take(code, 4 if insn.address_mask else 2)
    elif kind == RELATIVE_BYTE:
        insn.immediate = <uint32_t><int8_t>take(code, 1)
    elif kind == RELATIVE_BY_SIZE:
        insn.immediate = take(code, large_size)


cdef void decode_one(uint32_t mode, Bytes* code, Insn* insn, Decoded* decoded) noexcept nogil:
    """Decode from code.at; insn.eip is set. If code.short, there were not enough bytes."""
    cdef bint code32 = mode & MODE_CODE32 != 0
    cdef bint address32 = code32
    cdef int override = -1
    cdef int repeat = 0
    cdef int prefix = -1            # of two_byte_after
    cdef int modrm = 0
    cdef int opcode
    cdef Entry* entry
    code.used = 0
    code.short = False
    memset(decoded, 0, sizeof(Decoded))
    decoded.large = code32
    while True:
        opcode = take(code, 1)
        if code.short:
            return
        if opcode == 0x66:
            decoded.large = not code32
            prefix = max(prefix, 0)
        elif opcode == 0x67:
            address32 = not code32
        elif opcode & 0xE7 == 0x26:
            override = opcode >> 3 & 3
        elif opcode == 0x64 or opcode == 0x65:
            override = FS + (opcode & 1)
        elif opcode == 0xF0:
            decoded.locked = True
        elif opcode == 0xF2 or opcode == 0xF3:
            repeat = opcode
            prefix = opcode - 0xF1
        else:
            break
    entry = &one_byte[opcode]
    if opcode == 0x0F:
        opcode = take(code, 1)
        entry = &two_byte[opcode]
        if prefix >= 0 and (two_byte_after[prefix][opcode].valid or two_byte_after[prefix][opcode].group != NULL):
            entry = &two_byte_after[prefix][opcode]
    elif repeat == 0xF3 and after_f3[opcode].valid:
        entry = &after_f3[opcode]
    insn.address_mask = -1 if address32 else 0
    insn.repeat = repeat
    insn.segment = DS
    insn.base = ABSENT
    insn.index = ABSENT
    insn.scale = 0
    insn.displacement = 0
    insn.immediate = 0
    if entry.has_modrm or entry.group != NULL or entry.by_modrm != NULL:
        modrm = take(code, 1)
        if entry.by_modrm != NULL and entry.by_modrm[modrm].valid:
            entry = &entry.by_modrm[modrm]
        elif entry.group != NULL:
            entry = &entry.group[modrm >> 3 & 7]
        if code.short:
            return
        if modrm < 0xC0 and entry.valid and not entry.register_only:
            decoded.in_memory = True
            if address32:
                take_address32(code, insn, modrm >> 6, modrm & 7)
            else:
                take_address16(code, insn, modrm >> 6, modrm & 7)
        elif entry.memory_only or modrm < 0xC0 and entry.memory_undefined:
            decoded.bad = True
    elif entry.memory_only:
        decoded.in_memory = True
    if override >= 0:
        insn.segment = override
    decoded.entry = entry
    if entry.protected and mode & (MODE_PROTECTED | MODE_VIRTUAL8086) != MODE_PROTECTED:
        decoded.bad = True
    decoded.forbidden = entry.privileged and mode & MODE_CPL != 0
    if not entry.valid:
        decoded.bad = True
        return
    take_immediate(code, insn, decoded, entry.immediate)
    insn.length = code.used
    if entry.immediate == RELATIVE_BYTE or entry.immediate == RELATIVE_BY_SIZE:
        insn.immediate += insn.eip + insn.length
        if not decoded.large:
            insn.immediate &= 0xFFFF
    if entry.first == NO_REGISTER or (decoded.in_memory and entry.first == MODRM_RM):
        insn.rm = 0
        insn.reg = source_offset(entry.second, entry.second_is_byte, opcode, modrm)
    elif decoded.in_memory:
        insn.rm = 0
        insn.reg = source_offset(entry.first, entry.first_is_byte, opcode, modrm)
    else:
        insn.rm = source_offset(entry.first, entry.first_is_byte, opcode, modrm)
        insn.reg = source_offset(entry.second, entry.second_is_byte, opcode, modrm)
    if entry.number == REG_FIELD:
        insn.reg = modrm >> 3 & 7
    elif entry.number == SEGMENT_OF_OPCODE:
        insn.reg = opcode >> 3 & 7
    elif entry.number == LOW_NIBBLE:
        if not entry.has_modrm:
            insn.reg = opcode & 15
    if decoded.locked and not (decoded.in_memory and entry.instances[decoded.large][ON_LOCKED]):
        decoded.bad = True


cdef int choose_slot(uint32_t mode, Insn* insn, Decoded* decoded) noexcept nogil:
    """Which instance of the entry: by operand form and by kind of segment."""
    cdef Entry* entry = decoded.entry
    cdef uint16_t* instances = entry.instances[decoded.large]
    if decoded.locked or decoded.in_memory and instances[ON_LOCKED] and not instances[ON_CAREFUL]:
        return ON_LOCKED
    if entry.on_stack:
        return ON_FLAT if mode & MODE_STACK32 and mode & (1 << SS) else ON_SEGMENTED
    if not decoded.in_memory:
        return REGISTER
    if not instances[ON_FLAT]:
        return ON_CAREFUL
    if insn.address_mask and mode & MODE_FLAT & (1 << insn.segment):
        return ON_FLAT if insn.index == ABSENT else ON_INDEXED
    return ON_SEGMENTED
