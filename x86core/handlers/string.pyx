"""MOVS CMPS STOS LODS SCAS INS OUTS, alone and repeated.

A repeated instruction works in chunks: as much of a page at once as nobody watches, else element by
element. A chunk is so much work as some tens of other instructions are. Behind it attention is looked
for, with the registers as far as they are and EIP still its own (SDM vol. 2, REP).
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from libc.string cimport memmove, memset

from x86core.apic_timer cimport timer_is_due
from x86core.arithmetic cimport SUB, Outcome, arithmetic
from x86core.blocks cimport stale_handler
from x86core.dispatch cimport leave, spill
from x86core.flags cimport zero
from x86core.handlers.port cimport port_access
from x86core.intrinsics cimport atomic_load, atomic_store, fill32
from x86core.mmu cimport locate_span
from x86core.operands cimport *
from x86core.state cimport (CPU, CR0_PE, EAX, ECX, EDI, EDX, ES, ESI, EXCEPTION_GP, EXIT_SIGNAL, FLAG_DF, FLAG_TF,
                            STORE_PLAIN, STORE_STRING, Insn, PAGE_SIZE)
from x86core.task cimport may_reach_port
from x86core.variant cimport *

cdef enum:
    # Elements done one by one, or tens of elements done at once, before attention is looked for.
    CHUNK = 64

cdef enum Operation:
    MOVS
    CMPS
    STOS
    LODS
    SCAS
    INS
    OUTS

# How a run of elements ended.
cdef enum Progress:
    FINISHED
    INTERRUPTED                     # to be entered again at the same EIP
    FAULTED


cdef inline int32_t stride(CPU* cpu, int v) noexcept nogil:
    return -size(v) if cpu.eflags & FLAG_DF else size(v)


cdef inline void advance(CPU* cpu, Insn* insn, int number, int32_t by) noexcept nogil:
    """Move SI, DI or CX, or their 32-bit forms, by address size."""
    cdef uint32_t mask = address_mask(insn)
    cpu.gpr[number] = cpu.gpr[number] & ~mask | (cpu.gpr[number] + by) & mask


cdef inline uint64_t read_source(CPU* cpu, Insn* insn, int v) noexcept nogil:
    return load_at(cpu, insn, insn.segment, cpu.gpr[ESI] & address_mask(insn), size(v), INTENT_READ)


cdef inline uint64_t read_destination(CPU* cpu, Insn* insn, int v) noexcept nogil:
    return load_at(cpu, insn, ES, cpu.gpr[EDI] & address_mask(insn), size(v), INTENT_READ)


cdef inline int write_destination(CPU* cpu, Insn* insn, int v, uint32_t value) noexcept nogil:
    return store_at(cpu, insn, ES, cpu.gpr[EDI] & address_mask(insn), value, size(v))


cdef inline void compare(CPU* cpu, uint64_t a, uint64_t b, int v) noexcept nogil:
    cdef Outcome outcome = arithmetic(SUB, <uint32_t>a, <uint32_t>b, 0, v)
    spill(cpu, outcome.result, outcome.carries, outcome.carry)


cdef int one(CPU* cpu, Insn* insn, int v, int operation) noexcept nogil:
    """One element; 0 or FAULT. Nothing has changed after a fault."""
    cdef uint64_t value, other
    cdef int32_t by = stride(cpu, v)
    value = 0
    if operation == MOVS or operation == CMPS or operation == LODS or operation == OUTS:
        value = read_source(cpu, insn, v)
        if unlikely(faulted(value)):
            return FAULT
    if operation == CMPS or operation == SCAS:
        other = read_destination(cpu, insn, v)
        if unlikely(faulted(other)):
            return FAULT
        if operation == SCAS:
            value = get_register(cpu, EAX * 4, v)
        compare(cpu, value, other, v)
    elif operation == MOVS:
        if unlikely(write_destination(cpu, insn, v, <uint32_t>value)):
            return FAULT
    elif operation == STOS:
        if unlikely(write_destination(cpu, insn, v, get_register(cpu, EAX * 4, v))):
            return FAULT
    elif operation == LODS:
        set_register(cpu, EAX * 4, <uint32_t>value, v)
    elif operation == OUTS:
        cpu.position = cpu.retired - insn.remaining
        value = port_access(cpu, cpu.gpr[EDX] & 0xFFFF, size(v), True, <uint32_t>value)
        if unlikely(faulted(value)):
            return FAULT
    else:
        # The destination must be writable before the device is asked.
        value = segment_address(cpu, ES, cpu.gpr[EDI] & address_mask(insn), size(v), INTENT_WRITE)
        if unlikely(faulted(value)):
            return FAULT
        cpu.position = cpu.retired - insn.remaining
        value = port_access(cpu, cpu.gpr[EDX] & 0xFFFF, size(v), False, 0)
        if unlikely(faulted(value)) or unlikely(write_destination(cpu, insn, v, <uint32_t>value)):
            return FAULT
    if operation == MOVS or operation == CMPS or operation == LODS or operation == OUTS:
        advance(cpu, insn, ESI, by)
    if operation != LODS and operation != OUTS:
        advance(cpu, insn, EDI, by)
    return 0


cdef void advance_past_fault(CPU* cpu, Insn* insn, int v, int operation) noexcept nogil:
    """What silicon leaves behind when a word of a string begins at offset FFFFh in real mode.

    The captures of an 80286 show SI, DI and, repeated, CX already moved on. Later manuals promise them
    unchanged (SDM vol. 2, REP); in every other case, protected mode above all, they are.
    """
    cdef int32_t by = stride(cpu, v)
    cdef bint at_source = operation in (MOVS, CMPS, LODS, OUTS) and cpu.gpr[ESI] & 0xFFFF == 0xFFFF
    cdef bint at_destination = operation not in (LODS, OUTS) and cpu.gpr[EDI] & 0xFFFF == 0xFFFF
    cdef int32_t counted = 1
    if cpu.cr0 & CR0_PE or insn.address_mask or v & WIDTH != W16 or cpu.exception != EXCEPTION_GP:
        return
    if not at_source and not at_destination:
        return
    if operation == CMPS:
        # The destination is read first.
        counted = 0
        at_source = at_source and not at_destination
        at_destination = True
    elif operation == MOVS:
        at_destination = not at_source
        at_source = True
        counted = 2 if at_destination else 1
    elif operation == STOS or operation == INS:
        counted = 2
    if at_source:
        advance(cpu, insn, ESI, by)
    if at_destination:
        advance(cpu, insn, EDI, by)
    if insn.repeat:
        advance(cpu, insn, ECX, -counted)


cdef inline uint32_t room_in_page(uint32_t linear, int v) noexcept nogil:
    """Whole elements from here to the end of the page."""
    return (PAGE_SIZE - (linear & (PAGE_SIZE - 1))) // size(v)


cdef inline uint8_t* span_at(CPU* cpu, int segment, uint32_t offset, uint32_t mask, uint32_t* elements, int v,
                             int intent) noexcept nogil:
    """Where elements lie that may be accessed at once; `elements` is cut to them. NULL: none may."""
    cdef uint64_t first = segment_address(cpu, segment, offset, size(v), intent)
    cdef uint32_t room
    if faulted(first):
        return NULL
    # As far as the page goes, and before the offset wraps.
    room = min(room_in_page(<uint32_t>first, v), (mask - offset) // size(v))
    if elements[0] > room:
        elements[0] = room
    if elements[0] < 2 or faulted(segment_address(cpu, segment, offset, elements[0] * size(v), intent)):
        return NULL
    return locate_span(cpu, <uint32_t>first, intent)


cdef uint32_t at_once(CPU* cpu, Insn* insn, int v, int operation, uint32_t count) noexcept nogil:
    """Do several elements of a forward MOVS or STOS in one go; how many, 0 when none may."""
    cdef uint32_t mask = address_mask(insn)
    cdef uint32_t elements = count
    cdef uint32_t value
    cdef uint8_t* source = NULL
    cdef uint8_t* destination
    if cpu.eflags & FLAG_DF:
        return 0
    # The source first: a destination is marked as written to, and is written to only when there is one.
    if operation == MOVS:
        source = span_at(cpu, insn.segment, cpu.gpr[ESI] & mask, mask, &elements, v, INTENT_READ)
        if source == NULL:
            return 0
    destination = span_at(cpu, ES, cpu.gpr[EDI] & mask, mask, &elements, v, INTENT_WRITE)
    if destination == NULL:
        return 0
    if operation == MOVS:
        # A destination just ahead of the source repeats what was copied: element by element.
        if destination > source and destination < source + elements * size(v):
            return 0
        memmove(destination, source, elements * size(v))
        advance(cpu, insn, ESI, elements * size(v))
    else:
        value = get_register(cpu, EAX * 4, v)
        if v & WIDTH == W8:
            memset(destination, value, elements)
        elif v & WIDTH == W16:
            fill32(destination, value << 16 | value, elements // 2)
            if elements & 1:
                (<uint16_t*>destination)[elements - 1] = <uint16_t>value
        else:
            fill32(destination, value, elements)
    advance(cpu, insn, EDI, elements * size(v))
    return elements


cdef int repeat(CPU* cpu, Insn* insn, int v, int operation) noexcept nogil:
    """The instruction under REP; arithmetic flags stand in `cpu`."""
    cdef uint32_t mask = address_mask(insn)
    cdef uint32_t count = cpu.gpr[ECX] & mask
    cdef uint32_t effort = 0
    cdef uint32_t elements
    while count:
        if effort >= CHUNK:
            return INTERRUPTED
        elements = 0
        if (operation == MOVS or operation == STOS) and count > 4 and not cpu.eflags & FLAG_TF:
            elements = at_once(cpu, insn, v, operation, count)
        if elements == 0:
            if one(cpu, insn, v, operation):
                return FAULTED
            elements = 1
            if cpu.replay_count:
                # What devices answered belongs to this element. Each of them costs an exit: attention at once.
                cpu.replay_count = 0
                cpu.replay_next = 0
                effort = CHUNK
        advance(cpu, insn, ECX, -<int32_t>elements)
        count -= elements
        effort += 1 + elements // 16
        if operation == CMPS or operation == SCAS:
            if zero(cpu.result) != (insn.repeat == 0xF3):
                return FINISHED
        # The running instruction may have been stored to, or each element may be a step, or be watched.
        if count and (insn.handler == stale_handler or cpu.eflags & FLAG_TF or cpu.watch_hit or cpu.dr_hits):
            return INTERRUPTED
    return FINISHED


cdef inline int string(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                       int operation) noexcept nogil:
    cdef int progress
    spill(cpu, result, carries, carry)
    cpu.store_kind = STORE_STRING
    if not insn.repeat:
        progress = FAULTED if one(cpu, insn, v, operation) else FINISHED
    else:
        progress = repeat(cpu, insn, v, operation)
    cpu.store_kind = STORE_PLAIN
    if likely(progress == FINISHED):
        if operation == INS or operation == OUTS:
            return follow_fallthrough(cpu, insn, cpu.result, cpu.carries, cpu.carry)
        return next(cpu, insn, cpu.result, cpu.carries, cpu.carry)
    if progress == FAULTED:
        advance_past_fault(cpu, insn, v, operation)
        return fault(cpu, insn, cpu.result, cpu.carries, cpu.carry)
    cpu.retired -= insn.remaining
    cpu.repeat_at = cpu.retired
    if cpu.eflags & FLAG_TF:
        cpu.trap_at = cpu.retired   # each element is a step
        atomic_store(&cpu.stop_at, 0)
    cpu.shadow = -1                 # an element was done: whatever held interrupts off is over
    cpu.chunks += 1
    if unlikely(cpu.chunks >= cpu.chunks_at):
        cpu.eip = insn.eip
        return leave(cpu, EXIT_SIGNAL)
    if atomic_load(&cpu.attention) or timer_is_due(cpu):
        atomic_store(&cpu.stop_at, 0)
    return jump(cpu, insn, cpu.result, cpu.carries, cpu.carry, insn.eip)


cdef inline int movs(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return string(cpu, insn, result, carries, carry, v, MOVS)


cdef inline int cmps(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return string(cpu, insn, result, carries, carry, v, CMPS)


cdef inline int stos(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return string(cpu, insn, result, carries, carry, v, STOS)


cdef inline int lods(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return string(cpu, insn, result, carries, carry, v, LODS)


cdef inline int scas(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return string(cpu, insn, result, carries, carry, v, SCAS)


cdef inline int ins(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if unlikely(not may_reach_port(cpu, cpu.gpr[EDX] & 0xFFFF, size(v))):
        return fault(cpu, insn, result, carries, carry)
    return string(cpu, insn, result, carries, carry, v, INS)


cdef inline int outs(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if unlikely(not may_reach_port(cpu, cpu.gpr[EDX] & 0xFFFF, size(v))):
        return fault(cpu, insn, result, carries, carry)
    return string(cpu, insn, result, carries, carry, v, OUTS)


include "string_instances.pxi"
