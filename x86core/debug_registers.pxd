from libc.stdint cimport uint32_t

from x86core.state cimport CPU, TLBEntry

# Bits of DR6 and DR7 (SDM vol. 3, 18.2.3 and 18.2.4).
cdef enum:
    DR6_HITS = 0xF              # B0 to B3
    DR6_BD = 0x2000
    DR6_BS = 0x4000
    DR6_BT = 0x8000
    DR6_WRITABLE = DR6_HITS | DR6_BD | DR6_BS | DR6_BT
    DR6_ONES = 0xFFFF0FF0U
    DR7_LOCAL = 0x155           # L0 to L3 and LE
    DR7_GD = 0x2000
    DR7_WRITABLE = 0xFFFF2BFFU
    DR7_ONES = 0x400

cdef void update_debug_registers(CPU* cpu) noexcept nogil
cdef void forget_local_breakpoints(CPU* cpu) noexcept nogil
cdef void note_debug_exception(CPU* cpu, uint32_t causes) noexcept nogil
cdef uint32_t breakpoints_at(CPU* cpu, uint32_t linear) noexcept nogil
cdef uint32_t data_breakpoints_at(CPU* cpu, uint32_t linear, int size, uint32_t kind) noexcept nogil
cdef void hide_breakpoints(CPU* cpu, TLBEntry* entry, uint32_t linear, uint32_t none) noexcept nogil
cdef void notice_port(CPU* cpu, uint32_t port, int size) noexcept nogil
