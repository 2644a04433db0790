"""Paging: 4 KiB and 4 MiB pages, their rights, accessed and dirty bits (SDM vol. 3, chapter 4, 32-bit paging).

What was found is kept in the TLB and, for code, in the jump cache and in links between blocks of different pages. A
flush makes all three forget.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from x86core.blocks cimport forget_targets
from x86core.intrinsics cimport atomic_load, atomic_swap_if
from x86core.memory cimport after_store
from x86core.mmu_intent cimport FAULT, INTENT_WRITE, faulted
from x86core.monitor cimport monitor_translation_changed
from x86core.rom cimport is_rom, unmirrored
from x86core.state cimport (CPU, CR0_AM, CR0_WP, CR4_PGE, CR4_PSE, EXCEPTION_PF, FLAG_AC, RAM, STORE_WALK, TLB_WORDS,
                            StoreKind)
from x86core.tlb cimport tlb_drop, tlb_index

# Bits of page-directory and page-table entries (SDM vol. 3, tables 4-4 to 4-6).
cdef enum:
    PRESENT = 0x001
    WRITABLE = 0x002
    USER = 0x004
    ACCESSED = 0x020
    DIRTY = 0x040
    LARGE = 0x080
    GLOBAL = 0x100
    FRAME = 0xFFFFF000U
    LARGE_FRAME = 0xFFC00000U
    LARGE_RESERVED = 0x3FF000   # there is neither PAT nor PSE-36

# Bits of the error code of a page fault (SDM vol. 3, 4.7).
cdef enum:
    ERROR_PRESENT = 1
    ERROR_WRITE = 2
    ERROR_USER = 4
    ERROR_RESERVED = 8


cdef int page_fault(CPU* cpu, uint32_t linear, int intent, bint user, uint32_t error_code) noexcept nogil:
    if intent == INTENT_WRITE:
        error_code |= ERROR_WRITE
    if user:
        error_code |= ERROR_USER
    cpu.fault_address = linear
    cpu.exception = EXCEPTION_PF
    cpu.error_code = error_code
    return FAULT


cdef uint32_t read_entry(RAM* ram, uint64_t at) noexcept nogil:
    """Where there is no RAM all bits are ones, as on a bus."""
    return <uint32_t>atomic_load(<uint32_t*>(ram.bytes + at)) if at + 4 <= ram.size else 0xFFFFFFFFU


cdef bint mark(CPU* cpu, uint64_t at, uint32_t entry, uint32_t bits) noexcept nogil:
    """Set accessed and dirty bits, as one locked store; False when somebody has changed the entry meanwhile."""
    cdef RAM* ram = cpu.ram
    cdef StoreKind kind
    if entry & bits == bits or at + 4 > ram.size or is_rom(ram, at):
        return True
    if not atomic_swap_if(<uint32_t*>(ram.bytes + at), entry, entry | bits):
        return False
    if atomic_load(&ram.pages[at >> 12].attributes):
        kind = cpu.store_kind
        cpu.store_kind = STORE_WALK
        after_store(ram, cpu, at, 4)
        cpu.store_kind = kind
    return True


cdef uint64_t look_up(CPU* cpu, uint32_t linear, uint64_t* entries) noexcept nogil:
    """Where the tables lead a linear address, whoever may go there, and where the two entries lie; FAULT if nowhere.

    A large page has its only entry twice. Nothing is marked.
    """
    cdef RAM* ram = cpu.ram
    cdef uint32_t entry
    entries[0] = entries[1] = (cpu.cr3 & FRAME) + (linear >> 20 & 0xFFC)
    entry = read_entry(ram, entries[0])
    if not entry & PRESENT:
        return <uint64_t>FAULT
    if entry & LARGE and cpu.cr4 & CR4_PSE:
        return entry & LARGE_FRAME | linear & ~<uint32_t>LARGE_FRAME
    entries[1] = (entry & FRAME) + (linear >> 10 & 0xFFC)
    entry = read_entry(ram, entries[1])
    if not entry & PRESENT:
        return <uint64_t>FAULT
    return entry & FRAME | linear & ~<uint32_t>FRAME


cdef uint64_t inspect(CPU* cpu, uint32_t linear, int* rights) noexcept nogil:
    """Where a linear address leads, and of RIGHT_WRITE and RIGHT_USER what its entries grant; FAULT if nowhere.

    Nothing is marked.
    """
    cdef uint64_t entries[2]
    cdef uint64_t physical
    cdef uint32_t allowed
    rights[0] = RIGHT_WRITE | RIGHT_USER
    if not cpu.paging:
        return linear
    physical = look_up(cpu, linear, entries)
    if faulted(physical):
        return physical
    allowed = read_entry(cpu.ram, entries[0])
    if allowed & LARGE and cpu.cr4 & CR4_PSE:
        if allowed & LARGE_RESERVED:
            return <uint64_t>FAULT
    else:
        allowed &= read_entry(cpu.ram, entries[1])
    if not allowed & WRITABLE:
        rights[0] &= ~RIGHT_WRITE
    if not allowed & USER:
        rights[0] &= ~RIGHT_USER
    return physical


ctypedef struct Walk:
    uint64_t directory_at       # where the entries lie; of a large page both are the directory's
    uint64_t entry_at
    uint32_t directory
    uint32_t entry
    uint32_t allowed            # the rights that both grant
    uint64_t physical
    bint large


cdef inline bint is_user(CPU* cpu) noexcept nogil:
    return cpu.cpl == 3 and not cpu.system_access


cdef inline int examine(CPU* cpu, uint32_t linear, int intent, Walk* found) noexcept nogil:
    """What the tables have for an access, 0, or FAULT for a page fault. Nothing is marked."""
    cdef RAM* ram = cpu.ram
    cdef bint user = is_user(cpu)
    found.directory_at = unmirrored(ram, (cpu.cr3 & FRAME) + (linear >> 20 & 0xFFC))
    found.directory = read_entry(ram, found.directory_at)
    if not found.directory & PRESENT:
        return page_fault(cpu, linear, intent, user, 0)
    found.large = found.directory & LARGE and cpu.cr4 & CR4_PSE
    if found.large:
        if found.directory & LARGE_RESERVED:
            return page_fault(cpu, linear, intent, user, ERROR_PRESENT | ERROR_RESERVED)
        found.entry_at = found.directory_at
        found.entry = found.allowed = found.directory
        found.physical = found.directory & LARGE_FRAME | linear & ~<uint32_t>LARGE_FRAME
    else:
        found.entry_at = unmirrored(ram, (found.directory & FRAME) + (linear >> 10 & 0xFFC))
        found.entry = read_entry(ram, found.entry_at)
        if not found.entry & PRESENT:
            return page_fault(cpu, linear, intent, user, 0)
        found.allowed = found.directory & found.entry
        found.physical = found.entry & FRAME | linear & ~<uint32_t>FRAME
    if user and not found.allowed & USER or intent == INTENT_WRITE and not found.allowed & WRITABLE and (
            user or cpu.cr0 & CR0_WP):
        return page_fault(cpu, linear, intent, user, ERROR_PRESENT)
    return 0


cdef int probe(CPU* cpu, uint32_t first, uint32_t last, int intent) noexcept nogil:
    """Whether the bytes between two, less than a page apart, may be accessed; 0 or FAULT. Nothing is marked."""
    cdef Walk found
    if not cpu.paging:
        return 0
    if examine(cpu, first, intent, &found) or (
            (first ^ last) & FRAME and examine(cpu, last & FRAME, intent, &found)):
        return FAULT
    return 0


cdef uint64_t walk(CPU* cpu, uint32_t linear, int intent, int* rights) noexcept nogil:
    """The physical address behind a linear one and what the TLB may know of it, or a page fault."""
    cdef Walk found
    cdef bint user = is_user(cpu)
    cdef uint32_t wanted = ACCESSED | DIRTY if intent == INTENT_WRITE else ACCESSED
    while True:
        if examine(cpu, linear, intent, &found):
            return <uint64_t>FAULT
        # Only now: a translation that faults marks nothing.
        if (found.large or mark(cpu, found.directory_at, found.directory, ACCESSED)) and mark(
                cpu, found.entry_at, found.entry, wanted):
            break
    rights[0] = 0
    if (found.entry | wanted) & DIRTY and (found.allowed & WRITABLE or not user and not cpu.cr0 & CR0_WP):
        rights[0] |= RIGHT_WRITE
    if found.allowed & USER and (found.allowed & WRITABLE or not rights[0] & RIGHT_WRITE):
        rights[0] |= RIGHT_USER
    if found.entry & GLOBAL and cpu.cr4 & CR4_PGE:
        rights[0] |= RIGHT_GLOBAL
    if found.large:
        rights[0] |= RIGHT_LARGE
    return found.physical


cdef void set_cpl(CPU* cpu, uint32_t cpl) noexcept nogil:
    """Change the current privilege level. At level 3 the TLB may not hold what only the others may do."""
    cdef int word
    if cpl == 3:
        for word in range(TLB_WORDS):
            if cpu.tlb_supervisor[word]:
                tlb_drop(cpu, word, cpu.tlb_supervisor[word])
    cpu.cpl = cpl
    update_alignment(cpu)


cdef void update_alignment(CPU* cpu) noexcept nogil:
    """Follows every change of CR0.AM, EFLAGS.AC and the privilege level (SDM vol. 3, 6.15, interrupt 17).

    Only the slow path checks alignment, so the TLB is left empty for as long as that is asked for.
    """
    cdef bint checks = cpu.cpl == 3 and cpu.cr0 & CR0_AM and cpu.eflags & FLAG_AC
    cdef int word
    if checks and not cpu.checks_alignment:
        for word in range(TLB_WORDS):
            tlb_drop(cpu, word, cpu.tlb_filled[word])
    cpu.checks_alignment = checks


cdef void flush_translations(CPU* cpu, bint globals_too) noexcept nogil:
    """Forget all translations, or all but those of global pages."""
    cdef int word
    cdef uint64_t kept
    monitor_translation_changed(cpu)
    for word in range(TLB_WORDS):
        kept = 0 if globals_too else cpu.tlb_global[word]
        tlb_drop(cpu, word, cpu.tlb_filled[word] & ~kept)
    if globals_too:
        memset(cpu.large_pages, 0, sizeof(cpu.large_pages))
    forget_targets(cpu)


cdef void flush_translation(CPU* cpu, uint32_t linear) noexcept nogil:
    """INVLPG: forget the page of an address. Of a large page the TLB has parts anywhere: forget everything then."""
    cdef int entry = tlb_index(linear)
    if cpu.large_pages[linear >> 28] >> (linear >> 22 & 63) & 1:
        flush_translations(cpu, True)
        return
    monitor_translation_changed(cpu)
    tlb_drop(cpu, entry >> 6, <uint64_t>1 << (entry & 63))
    forget_targets(cpu)
