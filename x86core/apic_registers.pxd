"""The local APIC's registers by their offset in its page, and their bits (SDM vol. 3, table 11-1)."""
from libc.stdint cimport uint32_t

from x86core.state cimport CPU

cdef enum:
    APIC_ID = 0x20
    APIC_VERSION = 0x30
    APIC_TPR = 0x80
    APIC_APR = 0x90
    APIC_PPR = 0xA0
    APIC_EOI = 0xB0
    APIC_RRD = 0xC0
    APIC_LDR = 0xD0
    APIC_DFR = 0xE0
    APIC_SVR = 0xF0
    APIC_ISR = 0x100            # eight registers, as the two below
    APIC_TMR = 0x180
    APIC_IRR = 0x200
    APIC_ESR = 0x280
    APIC_ICR_LOW = 0x300
    APIC_ICR_HIGH = 0x310
    APIC_LVT_TIMER = 0x320
    APIC_LVT_THERMAL = 0x330
    APIC_LVT_PERFORMANCE = 0x340
    APIC_LVT_LINT0 = 0x350
    APIC_LVT_LINT1 = 0x360
    APIC_LVT_ERROR = 0x370
    APIC_INITIAL_COUNT = 0x380
    APIC_CURRENT_COUNT = 0x390
    APIC_DIVIDE = 0x3E0

cdef enum:
    BASE_BOOTSTRAP = 0x100      # IA32_APIC_BASE: this is the bootstrap processor
    BASE_ENABLED = 0x800
    SVR_ENABLED = 0x100
    LVT_MODE = 0x700            # delivery mode, of the ICR too
    LVT_EXTINT = 0x700
    LVT_MASKED = 0x10000
    TIMER_MODE = 0x60000
    TIMER_PERIODIC = 0x20000
    TIMER_TSC_DEADLINE = 0x40000

# Error status register.
cdef enum:
    SEND_ILLEGAL_VECTOR = 1 << 5
    RECEIVE_ILLEGAL_VECTOR = 1 << 6
    ILLEGAL_REGISTER = 1 << 7


cdef inline uint32_t* apic_register(CPU* cpu, int offset) noexcept nogil:
    return &cpu.apic.registers[offset >> 4]
