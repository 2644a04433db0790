"""The TLB: from linear page to host address, with one tag for reading and one for writing.

A hit is one subtraction and one comparison, which also sees that the access stays in its page. A tag
that never matches is the page address of a neighbouring entry.

Forgetting costs as much as there is to forget: a bit for each entry says whether it has been filled, and with what.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from x86core.intrinsics cimport trailing_zeros64
from x86core.state cimport CPU, PAGE_SIZE, TLB_ENTRIES, TLBEntry


cdef inline TLBEntry* tlb_entry(CPU* cpu, uint32_t linear) noexcept nogil:
    # The entry's 16 bytes taken into the shift: one instruction less at every access.
    return <TLBEntry*>(<uint8_t*>cpu.tlb + (linear >> 8 & (TLB_ENTRIES - 1) << 4))


cdef inline int tlb_index(uint32_t linear) noexcept nogil:
    return linear >> 12 & (TLB_ENTRIES - 1)


cdef inline bint tag_matches(uint32_t tag, uint32_t linear, int size) noexcept nogil:
    return linear - tag <= <uint32_t>(PAGE_SIZE - size)


cdef inline uint32_t tag_of_none(int entry) noexcept nogil:
    return <uint32_t>(entry ^ 1) << 12


cdef inline void tlb_note(CPU* cpu, int entry, bint is_global, bint supervisor) noexcept nogil:
    """Note of what kind the page is that an entry is filled with."""
    cdef int word = entry >> 6
    cdef uint64_t bit = <uint64_t>1 << (entry & 63)
    cpu.tlb_filled[word] |= bit
    cpu.tlb_global[word] = cpu.tlb_global[word] | bit if is_global else cpu.tlb_global[word] & ~bit
    cpu.tlb_supervisor[word] = cpu.tlb_supervisor[word] | bit if supervisor else cpu.tlb_supervisor[word] & ~bit


cdef inline void tlb_drop(CPU* cpu, int word, uint64_t dropped) noexcept nogil:
    """Drop those of 64 entries whose bits are set."""
    cdef uint64_t bits = dropped
    cdef int entry
    while bits:
        entry = word << 6 | trailing_zeros64(bits)
        cpu.tlb[entry].read_tag = tag_of_none(entry)
        cpu.tlb[entry].write_tag = tag_of_none(entry)
        bits &= bits - 1
    cpu.tlb_filled[word] &= ~dropped
    cpu.tlb_global[word] &= ~dropped
    cpu.tlb_supervisor[word] &= ~dropped
