from libc.stdint cimport uint8_t, uint32_t

from x86core.opcodes cimport Entry
from x86core.state cimport Insn

cdef enum:
    MAX_LENGTH = 15             # bytes of an instruction (SDM vol. 2, 2.3.11)

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
    bint forbidden              # privileged, and the privilege level is not 0

cdef void decode_one(uint32_t mode, Bytes* code, Insn* insn, Decoded* decoded) noexcept nogil
cdef int choose_slot(uint32_t mode, Insn* insn, Decoded* decoded) noexcept nogil
