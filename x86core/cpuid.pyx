"""What CPUID tells: exactly what is there (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E)."""
from libc.stdint cimport uint32_t

from x86core.interrupts cimport apic_enabled
from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.state cimport CPU, FEATURE_MONITORX, FEATURE_WAITPKG, LINE_SIZE

cdef enum:
    HIGHEST_LEAF = 0x15
    EXTENDED = 0x80000000U
    HIGHEST_EXTENDED = 0x80000001U
    # Leaf 1, EAX: family 6, model 1, stepping 1, a Pentium Pro by what it can do.
    SIGNATURE = 0x611
    CPUID_DE = 1 << 2           # leaf 1, EDX
    CPUID_PSE = 1 << 3
    CPUID_TSC = 1 << 4
    CPUID_MSR = 1 << 5
    CPUID_CX8 = 1 << 8
    CPUID_APIC = 1 << 9
    CPUID_PGE = 1 << 13
    CPUID_CMOV = 1 << 15
    CPUID_MONITOR = 1 << 3      # leaf 1, ECX
    CPUID_TSC_DEADLINE = 1 << 24
    CPUID_HYPERVISOR = 1 << 31
    CPUID_WAITPKG = 1 << 5      # leaf 7, ECX
    CPUID_MONITORX = 1 << 29    # leaf 80000001h, ECX
    # Leaf 0Bh: what its subleaves are, in ECX; bits of the APIC ID that number logical processors.
    LEVEL_THREAD = 0x100
    LEVEL_CORE = 0x200
    ID_BITS = 10


cdef Leaf answer(uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx) noexcept nogil:
    cdef Leaf leaf
    leaf.eax = eax
    leaf.ebx = ebx
    leaf.ecx = ecx
    leaf.edx = edx
    return leaf


cdef Leaf features(CPU* cpu) noexcept nogil:
    cdef uint32_t ecx = CPUID_HYPERVISOR
    cdef uint32_t edx = CPUID_DE | CPUID_PSE | CPUID_TSC | CPUID_MSR | CPUID_CX8 | CPUID_PGE | CPUID_CMOV
    if cpu.misc_enable & MISC_ENABLE_MONITOR:
        ecx |= CPUID_MONITOR
    if apic_enabled(cpu):
        ecx |= CPUID_TSC_DEADLINE
        edx |= CPUID_APIC
    return answer(SIGNATURE, cpu.index << 24 | (LINE_SIZE // 8) << 8, ecx, edx)


cdef Leaf topology(CPU* cpu, uint32_t subleaf) noexcept nogil:
    """The whole number of the vCPU, which leaf 1 has but 8 bits of: one thread in each core."""
    if subleaf == 0:
        return answer(0, 1, LEVEL_THREAD, cpu.index)
    if subleaf == 1:
        return answer(ID_BITS, cpu.ram.vcpu_limit, LEVEL_CORE | 1, cpu.index)
    return answer(0, 0, subleaf & 0xFF, cpu.index)


cdef Leaf cpuid_leaf(CPU* cpu, uint32_t leaf, uint32_t subleaf) noexcept nogil:
    """A leaf. One beyond the highest answers as the highest basic one does."""
    if leaf == EXTENDED:
        return answer(HIGHEST_EXTENDED, 0, 0, 0)
    if leaf == HIGHEST_EXTENDED:
        return answer(0, 0, CPUID_MONITORX if cpu.features & FEATURE_MONITORX else 0, 0)
    if leaf == 0:
        # "x86core vmm " in EBX EDX ECX, the bytes in the order in which they are read.
        return answer(HIGHEST_LEAF, 0x63363878, 0x206D6D76, 0x2065726F)
    if leaf == 1:
        return features(cpu)
    if leaf == 5:
        # Line sizes; ECX: extensions are listed, and a masked interrupt can break MWAIT; EDX: one C0, one C1.
        return answer(LINE_SIZE, LINE_SIZE, 3, 0x11)
    if leaf == 7:
        return answer(0, 0, CPUID_WAITPKG if subleaf == 0 and cpu.features & FEATURE_WAITPKG else 0, 0)
    if leaf == 0xB:
        return topology(cpu, subleaf)
    if leaf >= HIGHEST_LEAF:
        # The TSC runs at 1 GHz: ratio 1 to a crystal of that frequency, which the APIC timer counts.
        return answer(1, 1, 1000000000, 0)
    return answer(0, 0, 0, 0)
