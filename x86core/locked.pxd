"""Atomic access to a memory operand: where it lies, and one host instruction for each width."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from x86core.guest_debug cimport notice_access
from x86core.intrinsics cimport atomic_exchange, atomic_swap_value, likely, unlikely
from x86core.mmu cimport INTENT_WRITE, faulted, finish_store, locate_store
from x86core.segmentation cimport segment_address
from x86core.state cimport CPU, STORE_LOCKED, STORE_PLAIN, WATCH_READ, Insn
from x86core.variant cimport W8, W16, WIDTH


cdef inline uint8_t* locate_atomic(CPU* cpu, Insn* insn, uint32_t offset, int bytes) noexcept nogil:
    """Host address of bytes in the operand's segment; finish_atomic must follow.

    NULL with an exception, or with NO_EXCEPTION where no single host access reaches them.
    """
    cdef uint64_t linear
    cdef uint8_t* at
    cpu.position = cpu.retired - insn.remaining
    linear = segment_address(cpu, insn.segment, offset, bytes, INTENT_WRITE)
    if unlikely(faulted(linear)):
        return NULL
    if unlikely(cpu.watching) and notice_access(cpu, <uint32_t>linear, bytes, WATCH_READ):
        return NULL
    at = locate_store(cpu, <uint32_t>linear, bytes)
    if likely(at != NULL):
        cpu.store_kind = STORE_LOCKED
    return at


cdef inline void finish_atomic(CPU* cpu, int bytes) noexcept nogil:
    """Follows the access to what locate_atomic returned."""
    finish_store(cpu, bytes)
    cpu.store_kind = STORE_PLAIN


cdef inline uint32_t swap_value(uint8_t* at, uint32_t old, uint32_t new, int v) noexcept nogil:
    """Compare and swap; what was there."""
    if v & WIDTH == W8:
        return <uint32_t>atomic_swap_value(at, <uint8_t>old, <uint8_t>new)
    if v & WIDTH == W16:
        return <uint32_t>atomic_swap_value(<uint16_t*>at, <uint16_t>old, <uint16_t>new)
    return <uint32_t>atomic_swap_value(<uint32_t*>at, old, new)


cdef inline uint32_t exchange(uint8_t* at, uint32_t new, int v) noexcept nogil:
    if v & WIDTH == W8:
        return <uint32_t>atomic_exchange(at, <uint8_t>new)
    if v & WIDTH == W16:
        return <uint32_t>atomic_exchange(<uint16_t*>at, <uint16_t>new)
    return <uint32_t>atomic_exchange(<uint32_t*>at, new)
