"""The decoder's tables: an entry per opcode, made from isa.py and the compiled handlers at import."""
from x86core.instances import Instance, all_instances, instances_of
from x86core.instances import fused_pairs as table_of_pairs
from x86core.isa import ROWS
from x86core.row import SEGMENTS

from x86core.state cimport Handler

cdef Entry groups[64][8]
cdef Entry modrms[4][256]
cdef int groups_used = 0
cdef int modrms_used = 0

# As the decoder numbers them.
PREFIXES = (0x66, 0xF2, 0xF3)

# By name, of every compiled handler.
cdef dict numbers = {}


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
    elif opcode[0] == 0xF3 and len(opcode) == 2:
        entry = &after_f3[last]
    elif opcode[0] in PREFIXES:
        entry = &two_byte_after[<int>PREFIXES.index(opcode[0])][last]
    else:
        entry = &two_byte[opcode[1]]
    if len(opcode) == 3 and opcode[0] == 0x0F:
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
    slots = {"": REGISTER, "flat": ON_FLAT, "flat_indexed": ON_INDEXED, "segmented": ON_SEGMENTED,
             "careful": ON_CAREFUL}
    return slots[instance.access] + dead


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
        elif row.operands == ("Iw", "Ib"):
            immediate = WORD_AND_BYTE
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
        elif operand in SEGMENTS:
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
    entry.has_modrm = row.extension is not None or (len(row.bytes) == 3 and row.bytes[0] == 0x0F) or any(
        operand[0] in "EGMRSC" and operand not in ("CL", *SEGMENTS) for operand in row.operands)
    entry.register_only = "Rd" in row.operands
    entry.memory_undefined = "register" in row.properties
    entry.address_only = "address" in row.properties
    entry.on_stack = "stack" in row.properties
    entry.ends = bool(row.properties & {"end", "jump"})
    entry.jumps = "jump" in row.properties
    entry.shadows = row.handler == "sti"
    entry.string = "string" in row.properties
    entry.privileged = "privileged" in row.properties
    entry.protected = "protected" in row.properties
    entry.flag_use = MAY_READ
    for name, use in (("quiet", QUIET), ("writes", OVERWRITES), ("carry", OVERWRITES_BUT_CARRY)):
        if name in row.properties:
            entry.flag_use = use
    widths = row.widths if len(row.widths) == 2 else row.widths * 2
    for large, width in enumerate(widths):
        for instance in instances_of(row, width, condition):
            entry.instances[large][slot_of(instance, entry.on_stack)] = numbers[instance.name]
    return 0


def build_tables():
    """Fill the tables from isa.py. Every handler module must be imported before.

    Raises ImportError when the table and the compiled handlers are not the same.
    """
    global UNDEFINED, TOO_LONG, FORBIDDEN, CHAIN
    expected = all_instances()
    if set(expected) != set(numbers):
        raise ImportError(
            "x86core was built from another instruction table; build it again (make clean run). "
            f"They differ in {sorted(set(expected) ^ set(numbers))[:8]}")
    UNDEFINED, TOO_LONG = numbers["undefined"], numbers["too_long"]
    FORBIDDEN, CHAIN = numbers["forbidden"], numbers["chain"]
    for row in ROWS:
        for step in range(row.span):
            opcode = bytes_of(row, step)
            entry = entry_for(opcode, row.extension)
            if entry.valid:
                continue            # 90 stands before 90+r
            fill_entry(entry, row, step if row.has_condition else None)
    for name, instance in expected.items():
        # Of a fused pair, that of its first alone.
        careful_name = Instance(instance.handler, instance.form, instance.width, "careful",
                                condition=None if instance.behind else instance.condition).name
        careful_handlers[<int>numbers[name]] = handlers[<int>numbers.get(careful_name, numbers[name])]
    firsts, seconds = {}, {}
    for first, second, fused in table_of_pairs():
        row = firsts.setdefault(first.name, len(firsts) + 1)
        column = seconds.setdefault(second.name, len(seconds) + 1)
        first_of_pair[<int>numbers[first.name]] = row
        second_of_pair[<int>numbers[second.name]] = column
        fused_pairs[<int>row][<int>column] = numbers[fused.name]
