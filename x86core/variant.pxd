"""How one handler body becomes many: a constant that says operand form, width, access and more.

Handler bodies are inline functions with a last argument `v`. The build stamps an instance for each
combination that isa.py asks for, with `v` a constant, and the C compiler folds every test of it.
"""

cdef enum:
    W8 = 1
    W16 = 2
    W32 = 3
    WIDTH = 3

    # Operands, destination first: R register, M memory, I immediate.
    FORM_R = 0 << 2
    FORM_M = 1 << 2
    FORM_RR = 2 << 2
    FORM_RI = 3 << 2
    FORM_MR = 4 << 2
    FORM_RM = 5 << 2
    FORM_MI = 6 << 2
    FORM = 7 << 2

    # How memory is reached. All but CAREFUL give up on anything unusual and go to it.
    FLAT = 0 << 5               # 32-bit address without an index, segment from 0 to 4 GiB
    SEGMENTED = 1 << 5          # segment base and limit
    CAREFUL = 2 << 5            # everything: faults, devices, straddling, watched pages
    FLAT_INDEXED = 3 << 5       # as FLAT, with an index
    ACCESS = 3 << 5

    DEAD = 1 << 7               # nobody reads the arithmetic flags that this instruction leaves

    # What stands behind the instruction and is part of it. The condition of a jump is in the upper bits; for the
    # others (pair.pxd) DEAD is about their flags.
    THEN_JCC = 1 << 8
    THEN_CMP_RR_JCC = 2 << 8
    THEN_CMP_RI_JCC = 3 << 8
    THEN_ADD_RR = 4 << 8
    THEN_ADD_RI = 5 << 8
    THEN_OR_RR = 6 << 8
    THEN_OR_RI = 7 << 8
    THEN_AND_RR = 8 << 8
    THEN_AND_RI = 9 << 8
    THEN_SUB_RR = 10 << 8
    THEN_SUB_RI = 11 << 8
    THEN_XOR_RR = 12 << 8
    THEN_XOR_RI = 13 << 8
    THEN_MOV_RR = 14 << 8
    THEN_MOV_RI = 15 << 8
    THEN_INC = 16 << 8
    THEN_DEC = 17 << 8
    THEN_NOT = 18 << 8
    THEN_LEA = 19 << 8
    THEN_LEA_INDEXED = 20 << 8
    THEN_STORE = 21 << 8
    THEN_STORE_INDEXED = 22 << 8
    THEN = 31 << 8
    CONDITION_SHIFT = 13


cdef inline int width(int v) noexcept nogil:
    """Operand width in bits."""
    return 4 << (v & WIDTH)


cdef inline int size(int v) noexcept nogil:
    """Operand size in bytes."""
    return 1 << ((v & WIDTH) - 1)


cdef inline unsigned int truncate(unsigned int value, int v) noexcept nogil:
    """The low bits of a value, by width."""
    return value & (0xFFFFFFFFU >> (32 - width(v)))


cdef inline bint is_memory(int v) noexcept nogil:
    return (v & FORM) == FORM_M or (v & FORM) >= FORM_MR


cdef inline int condition_of(int v) noexcept nogil:
    return v >> CONDITION_SHIFT & 15
