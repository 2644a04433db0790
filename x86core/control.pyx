"""Control registers: which bits there are, and what a change of them makes the processor forget (SDM vol. 3, 2.5)."""
from libc.stdint cimport uint32_t

from x86core.debug_registers cimport update_debug_registers
from x86core.mmu cimport raise_exception
from x86core.paging cimport flush_translations, set_cpl, update_alignment
from x86core.segmentation cimport update_context
from x86core.state cimport (CPU, CR0_AM, CR0_CD, CR0_EM, CR0_ET, CR0_MP, CR0_NE, CR0_NW, CR0_PE, CR0_PG, CR0_TS,
                            CR0_WP, CR4_DE, CR4_PGE, CR4_PSE, EXCEPTION_GP, FLAG_VM)

cdef enum:
    CR0_WRITABLE = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG


cdef int write_cr0(CPU* cpu, uint32_t value) noexcept nogil:
    """0, or FAULT with #GP(0): paging without protection, or write-through without a cache turned off."""
    cdef uint32_t changed
    if value & (CR0_PG | CR0_PE) == CR0_PG or value & (CR0_NW | CR0_CD) == CR0_NW:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    value = value & CR0_WRITABLE | CR0_ET
    changed = cpu.cr0 ^ value
    cpu.cr0 = value
    cpu.paging = value & CR0_PG != 0
    if changed & (CR0_PG | CR0_WP | CR0_PE):
        flush_translations(cpu, True)
    if not value & CR0_PE:
        cpu.eflags &= ~<uint32_t>FLAG_VM    # the host's doing: no instruction can
        set_cpl(cpu, 0)
    update_alignment(cpu)
    update_context(cpu)
    return 0


cdef void write_cr3(CPU* cpu, uint32_t value) noexcept nogil:
    cpu.cr3 = value
    if cpu.paging:
        flush_translations(cpu, False)


cdef int write_cr4(CPU* cpu, uint32_t value) noexcept nogil:
    """0, or FAULT with #GP(0) for a bit that is not there."""
    cdef uint32_t changed
    if value & ~<uint32_t>CR4_WRITABLE:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    if (cpu.cr4 ^ value) & (CR4_PSE | CR4_PGE):
        flush_translations(cpu, True)
    changed = cpu.cr4 ^ value
    cpu.cr4 = value
    if changed & CR4_DE:
        update_debug_registers(cpu)
    return 0
