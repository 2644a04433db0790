"""From bytes to blocks of decoded instructions, by the table in isa.py."""
from libc.stdint cimport int8_t, int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from x86core import isa

from x86core.blocks cimport block_allocate, block_insert, nowhere
from x86core.intrinsics cimport atomic_load, atomic_or
from x86core.mmu cimport INTENT_FETCH, faulted, raise_exception, translate
from x86core.monitor cimport shootdown
from x86core.state cimport (BLOCK_INSTRUCTIONS, CPU, CS, DS, EBP, EBX, ESP, EXCEPTION_GP, FS, GS, LINE_SIZE,
                            MODE_CODE32, MODE_FLAT, MODE_STACK32, NO_MEMORY, PAGE_CODE, PAGE_SIZE, SS,
                            Block, Handler, Insn, Link)

cdef enum:
    MAX_LENGTH = 15             # bytes of an instruction (SDM vol. 2, 2.3.11)

# What a handler's register fields, in order, come from.
cdef enum Source:
    NO_REGISTER
    MODRM_RM                    # when it is a register
    MODRM_REG
    OPCODE_LOW                  # the low three bits of the opcode
    ACCUMULATOR

cdef enum Immediate:
    NO_IMMEDIATE
    BYTE
    SIGNED_BYTE                 # extended to the operand size
    WORD
    BY_OPERAND_SIZE
    ONE                         # the 1 of D0 and D1, not in the bytes
    RELATIVE_BYTE
    RELATIVE_BY_SIZE
    FAR_POINTER
    OFFSET                      # by address size, without ModRM

# What is put into Insn.reg as a plain number.
cdef enum Number:
    NO_NUMBER
    REG_FIELD
    SEGMENT_OF_OPCODE
    LOW_NIBBLE

# Which of an entry's instances.
cdef enum:
    REGISTER
    REGISTER_DEAD
    ON_FLAT
    ON_FLAT_DEAD
    ON_SEGMENTED
    ON_SEGMENTED_DEAD
    ON_CAREFUL
    ON_LOCKED
    SLOTS

# What the flags pass needs to know.
cdef enum FlagUse:
    MAY_READ                    # anything
    QUIET                       # neither reads nor writes
    OVERWRITES                  # leaves nothing of the flags before
    OVERWRITES_BUT_CARRY

ctypedef struct Entry:
    bint valid
    bint has_modrm
    bint memory_only
    bint register_only          # ModRM.mod is not looked at
    bint address_only           # does not reach the memory operand
    bint on_stack               # the register slots are for kinds of stack segment instead
    bint ends                   # the block
    bint jumps                  # the same, to insn.immediate
    bint shadows                # one more instruction belongs into the block
    bint conditional_jump
    bint string
    uint8_t flag_use
    uint8_t first               # Source of Insn.rm in register form
    uint8_t second              # Source of Insn.reg
    bint first_is_byte
    bint second_is_byte
    uint8_t number
    uint8_t immediate
    uint16_t instances[2][8]    # by 32-bit operands, by Slot
    Entry* group                # 8 entries by the reg field
    Entry* by_modrm             # 256 entries by the whole byte

cdef Entry one_byte[256]
cdef Entry two_byte[256]
cdef Entry after_f3[256]        # where F3 makes another instruction of a one-byte opcode
cdef Entry groups[64][8]
cdef Entry modrms[4][256]
cdef int groups_used = 0
cdef int modrms_used = 0

cdef Handler handlers[MAX_INSTANCES]
cdef uint16_t fused_with_jcc[MAX_INSTANCES][16]
cdef dict numbers = {}
cdef uint16_t UNDEFINED, TOO_LONG, CHAIN


# Building the tables, once, when the package is imported.

cdef void register_instance(str name, Handler handler):
    cdef int number = len(numbers) + 1
    numbers[name] = number
    handlers[number] = handler


cdef Entry* entry_for(tuple opcode, extension) except NULL:
    """Where in the tables a row belongs."""
    global groups_used, modrms_used
    cdef Entry* entry
    cdef int last = opcode[len(opcode) - 1]
    if len(opcode) == 1:
        entry = &one_byte[last]
    elif opcode[0] == 0xF3:
        entry = &after_f3[last]
    else:
        entry = &two_byte[opcode[1]]
    if len(opcode) == 3:
        if entry.by_modrm == NULL:
            entry.by_modrm = &modrms[modrms_used][0]
            modrms_used += 1
        entry = &entry.by_modrm[last]
    elif extension is not None:
        if entry.group == NULL:
            entry.group = &groups[groups_used][0]
            groups_used += 1
        entry = &entry.group[<int>extension]
    return entry


def bytes_of(row, step):
    """The fixed opcode bytes of the `step`th opcode that a row stands for."""
    *prefix, last = row.bytes
    return (*prefix, last + step)


cdef int slot_of(instance, on_stack):
    dead = 1 if instance.dead else 0
    if instance.handler.startswith("locked_"):
        return ON_LOCKED
    if on_stack and instance.access == "flat":
        return ON_FLAT
    return {"": REGISTER, "flat": ON_FLAT, "segmented": ON_SEGMENTED, "careful": ON_CAREFUL}[instance.access] + dead


cdef int fill_entry(Entry* entry, row, condition) except -1:
    registers = []
    immediate = NO_IMMEDIATE
    for operand in row.operands:
        kind = operand[0]
        if operand in ("AL", "eAX"):
            registers.append((ACCUMULATOR, operand == "AL"))
        elif kind in "EGZR" and operand[1:] in ("b", "w", "v", "d"):
            source = {"E": MODRM_RM, "R": MODRM_RM, "G": MODRM_REG, "Z": OPCODE_LOW}[kind]
            registers.append((source, operand == kind + "b"))
        elif kind == "I":
            immediate = {"b": BYTE, "w": WORD, "v": BY_OPERAND_SIZE}[operand[1]]
        elif operand == "1":
            immediate = ONE
        elif kind == "J":
            immediate = RELATIVE_BYTE if operand == "Jb" else RELATIVE_BY_SIZE
        elif kind == "A":
            immediate = FAR_POINTER
        elif kind == "O":
            immediate = OFFSET
            entry.memory_only = True
        elif kind == "M":
            entry.memory_only = True
        elif operand in ("Sw", "Cd", "Dd"):
            entry.number = REG_FIELD
        elif operand in ("ES", "CS", "SS", "DS", "FS", "GS"):
            entry.number = SEGMENT_OF_OPCODE
    if "signed" in row.properties:
        immediate = SIGNED_BYTE
    if row.has_condition:
        entry.number = LOW_NIBBLE
    registers += [(NO_REGISTER, False)] * 2
    entry.first, entry.first_is_byte = registers[0]
    entry.second, entry.second_is_byte = registers[1]
    entry.valid = True
    entry.immediate = immediate
    entry.has_modrm = any(operand[0] in "EGMRSC" and operand not in ("CL", "CS", "SS", "ES", "DS", "GS")
                          for operand in row.operands) or row.extension is not None or len(row.bytes) == 3
    entry.register_only = "Rd" in row.operands
    entry.address_only = "address" in row.properties
    entry.on_stack = "stack" in row.properties
    entry.ends = bool(row.properties & {"end", "jump"})
    entry.jumps = "jump" in row.properties
    entry.shadows = row.handler == "sti"
    entry.conditional_jump = row.handler == "jcc"
    entry.string = "string" in row.properties
    entry.flag_use = MAY_READ
    for name, use in (("quiet", QUIET), ("writes", OVERWRITES), ("carry", OVERWRITES_BUT_CARRY)):
        if name in row.properties:
            entry.flag_use = use
    widths = row.widths if len(row.widths) == 2 else row.widths * 2
    for large, width in enumerate(widths):
        for instance in row.instances_of(width, condition):
            entry.instances[large][slot_of(instance, entry.on_stack)] = numbers[instance.name]
    return 0


def build_tables():
    """Fill the tables from isa.py. Every handler module must be imported before.

    Raises ImportError when the table and the compiled handlers are not the same.
    """
    global UNDEFINED, TOO_LONG, CHAIN
    expected = isa.all_instances()
    if set(expected) != set(numbers):
        raise ImportError(
            "x86core was built from another instruction table; build it again (make clean run). "
            f"They differ in {sorted(set(expected) ^ set(numbers))[:8]}")
    UNDEFINED, TOO_LONG, CHAIN = numbers["undefined"], numbers["too_long"], numbers["chain"]
    for row in isa.ROWS:
        for step in range(row.span):
            opcode = bytes_of(row, step)
            entry = entry_for(opcode, row.extension)
            if entry.valid:
                continue            # 90 stands before 90+r
            fill_entry(entry, row, step if row.has_condition else None)
    for name, instance in expected.items():
        careful_name = isa.Instance(instance.handler, instance.form, instance.width, "careful", False,
                                    instance.condition).name
        careful_handlers[<int>numbers[name]] = handlers[<int>numbers.get(careful_name, numbers[name])]
    for first, fused in isa.fused_instances():
        fused_with_jcc[<int>numbers[first.name]][<int>fused.condition] = numbers[fused.name]
        careful = isa.Instance(first.handler, first.form, first.width, "careful").name
        careful_handlers[<int>numbers[fused.name]] = handlers[<int>numbers.get(careful, numbers[first.name])]


# Decoding one instruction.

ctypedef struct Bytes:
    uint8_t at[2 * MAX_LENGTH]
    int available               # how many are there
    int used
    bint short                  # more were wanted than are there

ctypedef struct Decoded:
    Entry* entry
    bint large                  # 32-bit operands
    bint in_memory
    bint locked
    bint bad                    # #UD, whatever the rest says


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
        else:
            break
    entry = &one_byte[opcode]
    if opcode == 0x0F:
        opcode = take(code, 1)
        entry = &two_byte[opcode]
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
        elif entry.memory_only:
            decoded.bad = True
    elif entry.memory_only:
        decoded.in_memory = True
    if override >= 0:
        insn.segment = override
    decoded.entry = entry
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
        if decoded.in_memory or not entry.has_modrm:
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
        return ON_FLAT
    return ON_SEGMENTED


# Decoding a block.

cdef bint mark_code(CPU* cpu, uint64_t physical, int length) noexcept nogil:
    """Note that these bytes of one page are decoded. Whether that was new."""
    cdef bint fresh = False
    cdef uint64_t line, bits
    cdef uint64_t first = physical / LINE_SIZE
    cdef uint64_t last = (physical + length - 1) / LINE_SIZE
    for line in range(first, last + 1):
        bits = ~<uint64_t>0
        if line == first:
            bits &= ~<uint64_t>0 << (physical & 63)
        if line == last:
            bits &= ~<uint64_t>0 >> (63 - ((physical + length - 1) & 63))
        if ~atomic_load(&cpu.ram.code_bytes[line]) & bits:
            atomic_or(&cpu.ram.code_bytes[line], bits)
            fresh = True
    if not atomic_load(&cpu.ram.pages[physical >> 12].attributes) & PAGE_CODE:
        atomic_or(&cpu.ram.pages[physical >> 12].attributes, PAGE_CODE)
        shootdown(cpu.ram, cpu)
        fresh = True
    return fresh


cdef bint gather(CPU* cpu, Bytes* code, uint32_t eip, uint64_t physical, uint64_t* beyond) noexcept nogil:
    """Up to MAX_LENGTH bytes at an address of which the first page is known.

    False, with cpu.exception set, when bytes of a second page are wanted (`beyond` is not NULL) and
    there is none. `beyond` gets its physical address.
    """
    cdef int here = PAGE_SIZE - (physical & (PAGE_SIZE - 1))
    cdef int64_t within = <int64_t>cpu.segments[CS].limit - eip + 1
    cdef int wanted = MAX_LENGTH
    cdef uint64_t second
    if within < wanted:
        wanted = <int>within
    if here > wanted:
        here = wanted
    memcpy(code.at, cpu.ram.bytes + physical, here)
    code.available = here
    if beyond == NULL or here == MAX_LENGTH:
        return True
    if here == wanted:
        raise_exception(cpu, EXCEPTION_GP, 0)
        return False
    second = translate(cpu, cpu.segments[CS].base + eip + here, INTENT_FETCH)
    if faulted(second):
        return False
    if second >= cpu.ram.size:
        raise_exception(cpu, NO_MEMORY, 0)
        return False
    beyond[0] = second
    memcpy(code.at + here, cpu.ram.bytes + second, wanted - here)
    code.available = wanted
    return True


cdef int fetch_one(CPU* cpu, uint32_t eip, uint64_t physical, Insn* insn, Decoded* decoded,
                   uint64_t* beyond, uint32_t* version) noexcept nogil:
    """Decode the instruction at eip: how many of its bytes lie in the page, or -1 on a fault.

    Bytes are marked as code before they are taken for good, so that no change of them is missed.
    `beyond` and `version` get the second page that it reaches into, if any.
    """
    cdef Bytes code
    cdef int here
    while True:
        insn.eip = eip
        beyond[0] = 0
        gather(cpu, &code, eip, physical, NULL)
        decode_one(cpu.mode, &code, insn, decoded)
        if code.short and code.available < MAX_LENGTH:
            if not gather(cpu, &code, eip, physical, beyond):
                return -1
            version[0] = atomic_load(&cpu.ram.pages[beyond[0] >> 12].code_version)
            decode_one(cpu.mode, &code, insn, decoded)
            if code.short and code.available < MAX_LENGTH:
                raise_exception(cpu, EXCEPTION_GP, 0)
                return -1
        if code.short:
            decoded.bad = True          # longer than any instruction: TOO_LONG
            decoded.entry = NULL
            code.used = code.available
        insn.length = code.used
        here = PAGE_SIZE - (physical & (PAGE_SIZE - 1))
        if here > code.used:
            here = code.used
            beyond[0] = 0
        if not mark_code(cpu, physical, here) and (
                here == code.used or not mark_code(cpu, beyond[0], code.used - here)):
            return here
        if not memcmp(code.at, cpu.ram.bytes + physical, here) and (
                here == code.used or not memcmp(code.at + here, cpu.ram.bytes + beyond[0], code.used - here)):
            return here


cdef void finish_block(Block* block, Decoded* decoded, uint8_t* slots, int count, bint ended) noexcept nogil:
    """Choose the handlers: leave out flags that nobody reads, fuse pairs, end the block."""
    cdef bint live = True
    cdef int position
    cdef Entry* entry
    cdef Insn* insn
    cdef Insn* behind
    cdef Link* link
    cdef uint16_t fused
    for position in range(count - 1, -1, -1):
        insn = &block.insns[position]
        insn.remaining = count - position
        entry = decoded[position].entry
        if decoded[position].bad:
            insn.instance = UNDEFINED if entry != NULL else TOO_LONG
            live = True
            continue
        if not live and slots[position] < ON_CAREFUL and entry.instances[decoded[position].large][slots[position] + 1]:
            slots[position] += 1
        insn.instance = entry.instances[decoded[position].large][slots[position]]
        # Whatever reaches memory may fault, and a fault shows the flags before it.
        if decoded[position].in_memory and not entry.address_only or entry.on_stack:
            live = True
        elif entry.flag_use == OVERWRITES:
            live = False
        elif entry.flag_use == MAY_READ:
            live = True
    for position in range(count):
        insn = &block.insns[position]
        if position + 1 < count and not decoded[position + 1].bad and decoded[position + 1].entry.conditional_jump:
            behind = &block.insns[position + 1]
            fused = fused_with_jcc[insn.instance][behind.reg & 15]
            if fused:
                insn.instance = fused
        insn.handler = handlers[insn.instance]
    block.count = count
    behind = &block.insns[count]
    if not ended:
        # Nothing ends the block by itself: go on behind it. Not an instruction, so none remains.
        insn = &block.insns[count - 1]
        memset(behind, 0, sizeof(Insn))
        behind.eip = insn.eip + insn.length
        behind.instance = CHAIN
        behind.handler = handlers[CHAIN]
        behind += 1
    link = <Link*>behind
    link.taken = &nowhere
    link.fallthrough = &nowhere


cdef int decode_into(CPU* cpu, Block* block, uint32_t physical, int most, uint32_t* version) noexcept nogil:
    """Decode up to `most` instructions at cpu.eip; how many, or 0 with cpu.exception set."""
    cdef Decoded decoded[BLOCK_INSTRUCTIONS]
    cdef uint8_t slots[BLOCK_INSTRUCTIONS]
    cdef uint32_t eip = cpu.eip
    cdef uint64_t at = physical
    cdef uint64_t beyond = 0
    cdef bint ended = False
    cdef bint shadowed = False
    cdef int count = 0
    cdef int here
    cdef Entry* entry
    block.eip = cpu.eip
    block.context = cpu.context_key >> 32
    block.physical = physical
    block.page[0] = physical >> 12
    block.page[1] = block.page[0]
    version[0] = atomic_load(&cpu.ram.pages[physical >> 12].code_version)
    while count < most and not ended:
        if count and (eip > cpu.segments[CS].limit or at >> 12 != block.page[0]):
            break
        here = fetch_one(cpu, eip, at, &block.insns[count], &decoded[count], &beyond, &version[1])
        if here < 0:
            if count == 0:
                return 0
            break                   # the fault belongs to the next block
        if beyond:
            block.page[1] = beyond >> 12
        entry = decoded[count].entry
        if not decoded[count].bad:
            slots[count] = choose_slot(cpu.mode, &block.insns[count], &decoded[count])
        ended = decoded[count].bad or entry.ends
        eip += block.insns[count].length
        at += block.insns[count].length
        count += 1
        if shadowed:
            break
        shadowed = not decoded[count - 1].bad and entry.shadows
        if beyond:
            break
    block.bytes = eip - cpu.eip
    finish_block(block, decoded, slots, count, ended)
    return count


cdef Block* decode_block(CPU* cpu, uint32_t physical) noexcept nogil:
    """Decode the block at cpu.eip, which lies at a physical address in RAM, and keep it.

    NULL, with cpu.exception set, when its first instruction cannot be fetched.
    """
    cdef Block* block
    cdef uint32_t version[2]
    cdef int used
    block = block_allocate(cpu, BLOCK_INSTRUCTIONS)
    used = decode_into(cpu, block, physical, BLOCK_INSTRUCTIONS, version)
    if used == 0:
        cpu.arena_used = <uint8_t*>block - cpu.arena
        return NULL
    # Give back what the block did not need.
    cpu.arena_used = <uint8_t*>(block.insns + used + 2) - cpu.arena
    block_insert(cpu, block, version[0], version[1])
    cpu.stats.blocks_decoded += 1
    return block


cdef Block* decode_partial(CPU* cpu, int instructions) noexcept nogil:
    """The first few instructions at cpu.eip, to be run once; they are known to be there."""
    cdef uint32_t version[2]
    cdef uint64_t physical = translate(cpu, cpu.segments[CS].base + cpu.eip, INTENT_FETCH)
    if faulted(physical) or decode_into(cpu, cpu.scratch, <uint32_t>physical, instructions, version) == 0:
        return NULL
    return cpu.scratch
