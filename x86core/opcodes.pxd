from libc.stdint cimport uint8_t, uint16_t

from x86core.state cimport Handler

cdef enum:
    MAX_INSTANCES = 8192

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
    WORD_AND_BYTE               # ENTER
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
    ON_INDEXED
    ON_INDEXED_DEAD
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
    bint register_only          # ModRM.mod says nothing
    bint memory_undefined       # or it must say that the operand is a register
    bint address_only           # does not reach the memory operand
    bint on_stack               # the register slots are for kinds of stack segment instead
    bint ends                   # the block
    bint jumps                  # the same, to insn.immediate
    bint shadows                # one more instruction belongs into the block
    bint string
    bint privileged             # at privilege level 0 only
    bint protected              # in protected mode only
    uint8_t flag_use
    uint8_t first               # Source of Insn.rm in register form
    uint8_t second              # Source of Insn.reg
    bint first_is_byte
    bint second_is_byte
    uint8_t number
    uint8_t immediate
    uint16_t instances[2][10]   # by 32-bit operands, by Slot
    Entry* group                # 8 entries by the reg field
    Entry* by_modrm             # 256 entries by the whole byte

cdef Entry one_byte[256]
cdef Entry two_byte[256]
cdef Entry after_f3[256]            # where F3 makes another instruction of a one-byte opcode
cdef Entry two_byte_after[3][256]   # where 66, F2 or F3 makes another one of a two-byte opcode

# By Insn.instance: the compiled handler, the form of it that can do everything, the pairs to fuse.
cdef Handler handlers[MAX_INSTANCES]
cdef Handler careful_handlers[MAX_INSTANCES]
cdef uint8_t first_of_pair[MAX_INSTANCES]
cdef uint8_t second_of_pair[MAX_INSTANCES]
cdef uint16_t fused_pairs[128][128]      # by those two; 0 where they are not fused
cdef uint16_t UNDEFINED, TOO_LONG, FORBIDDEN, CHAIN

cdef void register_instance(str name, Handler handler)
