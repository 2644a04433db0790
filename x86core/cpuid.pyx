"""What CPUID tells: exactly what is there (SDM vol. 2, CPUID)."""
from libc.stdint cimport uint32_t

from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.state cimport CPU, LINE_SIZE

cdef enum:
    HIGHEST_LEAF = 0x15
    HIGHEST_EXTENDED = 0x80000000U
    # Leaf 1, EAX: family 6, model 1, stepping 1, a Pentium Pro by what it can do.
    SIGNATURE = 0x611
    FEATURE_TSC = 1 << 4        # EDX
    FEATURE_MSR = 1 << 5
    FEATURE_CX8 = 1 << 8
    FEATURE_CMOV = 1 << 15
    FEATURE_MONITOR = 1 << 3    # ECX
    FEATURE_HYPERVISOR = 1 << 31

# The parts of an answer, in the order in which they are asked for.
cdef enum:
    PART_EAX
    PART_EBX
    PART_ECX
    PART_EDX


cdef inline uint32_t four(uint32_t a, uint32_t b, uint32_t c, uint32_t d, int part) noexcept nogil:
    return a if part == PART_EAX else b if part == PART_EBX else c if part == PART_ECX else d


cdef uint32_t cpuid_leaf(CPU* cpu, uint32_t leaf, int part) noexcept nogil:
    """One register of a leaf. A leaf beyond the highest answers as the highest basic one does."""
    if leaf == HIGHEST_EXTENDED:
        return four(HIGHEST_EXTENDED, 0, 0, 0, part)
    if leaf > HIGHEST_LEAF:
        leaf = HIGHEST_LEAF
    if leaf == 0:
        # "x86core vmm " in EBX EDX ECX, the bytes in the order in which they are read.
        return four(HIGHEST_LEAF, 0x63363878, 0x206D6D76, 0x2065726F, part)
    if leaf == 1:
        return four(SIGNATURE, cpu.index << 24 | (LINE_SIZE // 8) << 8,
                    FEATURE_HYPERVISOR | (FEATURE_MONITOR if cpu.misc_enable & MISC_ENABLE_MONITOR else 0),
                    FEATURE_TSC | FEATURE_MSR | FEATURE_CX8 | FEATURE_CMOV, part)
    if leaf == 5:
        # Line sizes; ECX: extensions are listed, and a masked interrupt can break MWAIT; EDX: one C0, one C1.
        return four(LINE_SIZE, LINE_SIZE, 3, 0x11, part)
    if leaf == 0x15:
        # The TSC runs at 1 GHz: ratio 1 to a crystal of that frequency.
        return four(1, 1, 1000000000, 0, part)
    return 0
