"""The guest's own breakpoints, in DR0 to DR3 and DR7, and what DR6 says of them (SDM vol. 3, 18.2 and 18.3).

They go the ways of guest debugging (guest_debug.pyx): a block ends before a breakpoint for execution, and a page with one
for data gets no TLB tag, so that nothing looks at them while none is enabled. What is met of data and ports is noted in
`dr_hits`, and is a trap behind the instruction (dispatch.pyx). The enable bits alone count: LE and GE are ignored, and
DR6 says nothing of a breakpoint that is not enabled.
"""
from libc.stdint cimport uint32_t, uint64_t

from x86core.attention cimport request
from x86core.intrinsics cimport atomic_store
from x86core.state cimport ATTENTION_DEBUG, CPU, CR4_DE, PAGE_SIZE, WATCH_READ, WATCH_WRITE, TLBEntry

cdef enum:
    BREAKPOINTS = 4

# R/W0 to R/W3 in DR7.
cdef enum Condition:
    ON_EXECUTION
    ON_WRITE
    ON_PORT                     # with CR4.DE; without, undefined: never met here
    ON_ACCESS                   # but not on a fetch


cdef inline uint32_t condition_of(CPU* cpu, int number) noexcept nogil:
    return cpu.dr[7] >> (16 + 4 * number) & 3


cdef inline uint32_t length_of(CPU* cpu, int number) noexcept nogil:
    """In bytes: LENn is 1, 2, 8 or 4 by its value."""
    cdef uint32_t code = cpu.dr[7] >> (18 + 4 * number) & 3
    return 8 if code == 2 else code + 1


cdef inline uint32_t first_of(CPU* cpu, int number) noexcept nogil:
    """Addresses are aligned by the length, whatever the low bits say."""
    return cpu.dr[number] & ~<uint32_t>(length_of(cpu, number) - 1)


cdef inline bint reaches(CPU* cpu, int number, uint32_t first, uint64_t last) noexcept nogil:
    """Whether a breakpoint has any byte from `first` to `last`."""
    cdef uint64_t begin = first_of(cpu, number)
    return begin <= last and begin + length_of(cpu, number) > first


cdef void update_debug_registers(CPU* cpu) noexcept nogil:
    """Follows every change of DR0 to DR3, DR7 and CR4.DE. It counts from the next instruction on."""
    cdef uint32_t before = cpu.dr_execution | cpu.dr_data
    cdef uint32_t condition
    cdef int number
    cpu.dr_execution = cpu.dr_data = cpu.dr_ports = 0
    for number in range(BREAKPOINTS):
        if not cpu.dr[7] >> 2 * number & 3:
            continue
        condition = condition_of(cpu, number)
        if condition == ON_EXECUTION:
            cpu.dr_execution |= 1 << number
        elif condition != ON_PORT:
            cpu.dr_data |= 1 << number
        elif cpu.cr4 & CR4_DE:
            cpu.dr_ports |= 1 << number
    if before or cpu.dr_execution or cpu.dr_data:
        cpu.points_changed = True
        request(cpu, ATTENTION_DEBUG)


cdef void forget_local_breakpoints(CPU* cpu) noexcept nogil:
    """A task switch clears the local enable bits."""
    if cpu.dr[7] & DR7_LOCAL:
        cpu.dr[7] &= ~<uint32_t>DR7_LOCAL
        update_debug_registers(cpu)


cdef void note_debug_exception(CPU* cpu, uint32_t causes) noexcept nogil:
    """DR6 at a debug exception: B0 to B3 are those of this one, the others stay until the guest clears them."""
    cpu.dr[6] = cpu.dr[6] & ~<uint32_t>DR6_HITS | causes


cdef uint32_t breakpoints_at(CPU* cpu, uint32_t linear) noexcept nogil:
    """The bits of the breakpoints for execution at an address."""
    cdef uint32_t hits = 0
    cdef int number
    for number in range(BREAKPOINTS):
        if cpu.dr_execution >> number & 1 and cpu.dr[number] == linear:
            hits |= 1 << number
    return hits


cdef uint32_t data_breakpoints_at(CPU* cpu, uint32_t linear, int size, uint32_t kind) noexcept nogil:
    """The bits of the breakpoints that an access meets; `kind` is WATCH_READ or WATCH_WRITE."""
    cdef uint32_t hits = 0
    cdef int number
    for number in range(BREAKPOINTS):
        if (cpu.dr_data >> number & 1 and (kind == WATCH_WRITE or condition_of(cpu, number) == ON_ACCESS)
                and reaches(cpu, number, linear, <uint64_t>linear + size - 1)):
            hits |= 1 << number
    return hits


cdef void hide_breakpoints(CPU* cpu, TLBEntry* entry, uint32_t linear, uint32_t none) noexcept nogil:
    """Put the tag `none` in the place of those by which a page's breakpoints would not be seen."""
    cdef uint32_t first = linear & ~<uint32_t>(PAGE_SIZE - 1)
    if data_breakpoints_at(cpu, first, PAGE_SIZE, WATCH_READ):
        entry.read_tag = none
    if data_breakpoints_at(cpu, first, PAGE_SIZE, WATCH_WRITE):
        entry.write_tag = none


cdef void notice_port(CPU* cpu, uint32_t port, int size) noexcept nogil:
    """A port was accessed: the breakpoints there trap behind the instruction."""
    cdef int number
    for number in range(BREAKPOINTS):
        if cpu.dr_ports >> number & 1 and reaches(cpu, number, port, port + size - 1):
            cpu.dr_hits |= 1 << number
            atomic_store(&cpu.stop_at, 0)
