"""Between blocks: finding the next one, links, faults, and everything that wants attention."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.apic_timer cimport next_stop, notice_timer
from x86core.blocks cimport block_find, drop_modified, jump_hash, set_link, set_stale_handler
from x86core.block_building cimport build_block, build_partial, set_breakpoint_handler
from x86core.debug_registers cimport DR6_BS, breakpoints_at, note_debug_exception
from x86core.events cimport deliver_debug_exception, deliver_external_interrupt, deliver_fault, deliver_nmi
from x86core.guest_debug cimport adopt_debug, begin_alone, is_breakpoint, is_passed, take_watch_hit
from x86core.interrupts cimport eoi_pending, interrupt_pending, take_interrupt, tell_eoi, window_requested
from x86core.intrinsics cimport DEAD_COUNT, atomic_exchange, atomic_load, atomic_or, atomic_store, frame_address
from x86core.mmu cimport INTENT_FETCH, faulted, raise_exception, translate
from x86core.opcodes cimport handlers
from x86core.shootdown cimport answer_shootdown
from x86core.state cimport (ATTENTION_CODE, ATTENTION_DEBUG, ATTENTION_INIT, ATTENTION_KICK, ATTENTION_NMI,
                            ATTENTION_RUN, ATTENTION_SHOOTDOWN, ATTENTION_SIPI, CPU, CS, DEBUG_BREAKPOINT,
                            DEVICE_ACCESS, EXCEPTION_GP, EXIT_AGAIN, EXIT_DEBUG, EXIT_INTERNAL_ERROR, EXIT_INTR,
                            EXIT_IRQ_WINDOW_OPEN, EXIT_LIMIT, EXIT_NONE, FLAG_IF, FLAG_RF, FLAG_TF, MAY_WAKE, NO_MEMORY,
                            PAGE_SIZE, WATCHED, Block, Insn, JumpEntry, Link)


cdef void spill(CPU* cpu, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """Put the arithmetic flags where they stand while no handler holds them."""
    cpu.result = result
    cpu.carries = carries
    cpu.carry = carry


cdef int leave(CPU* cpu, int reason) noexcept nogil:
    """Out of the guest. Notes how deep the host stack is: handlers that tail-call keep it flat."""
    cdef size_t depth = cpu.stack_top - frame_address()
    if depth > cpu.stack_depth:
        cpu.stack_depth = depth
    return reason


cdef Block* find_block(CPU* cpu) noexcept nogil:
    """The block at CS:EIP, decoded if need be; NULL when cpu.exception says why there is none."""
    cdef uint64_t key = cpu.context_key | cpu.eip
    cdef JumpEntry* entry = &cpu.jump_cache[jump_hash(cpu.eip)]
    cdef uint64_t physical
    cdef Block* block
    if entry.key == key and entry.block.count != DEAD_COUNT:
        return entry.block
    if cpu.eip > cpu.segments[CS].limit:
        raise_exception(cpu, EXCEPTION_GP, 0)
        return NULL
    physical = translate(cpu, cpu.segments[CS].base + cpu.eip, INTENT_FETCH)
    if faulted(physical):
        return NULL
    if physical >= cpu.ram.size:
        raise_exception(cpu, NO_MEMORY, 0)
        return NULL
    block = block_find(cpu, <uint32_t>physical, cpu.eip)
    if block == NULL:
        block = build_block(cpu, <uint32_t>physical)
        if block == NULL:
            return NULL
    if block != cpu.scratch:
        entry.key = key
        entry.block = block
    return block


cdef int enter(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """Go on at cpu.eip, once nothing else wants attention."""
    cdef Block* block
    cdef int64_t stop_at, room
    cdef int reason
    spill(cpu, result, carries, carry)
    while True:
        stop_at = atomic_load(&cpu.stop_at)
        room = stop_at - cpu.retired
        if room <= 0:
            reason = attend(cpu)
            if reason != EXIT_NONE:
                return leave(cpu, reason)
            continue
        block = find_block(cpu)
        if block != NULL and block.count > room:
            if stop_at == cpu.soft_stop_at:
                atomic_store(&cpu.stop_at, 0)   # only a look at the clock: it may be had early
                continue
            block = build_partial(cpu, <int>room)
        if block != NULL:
            cpu.retired += block.count
            return block.insns.handler(cpu, block.insns, cpu.result, cpu.carries, cpu.carry)
        if cpu.exception == NO_MEMORY:
            cpu.run.exit.internal.suberror = 1      # KVM_INTERNAL_ERROR_EMULATION
            cpu.run.exit.internal.ndata = 0
            return leave(cpu, EXIT_INTERNAL_ERROR)
        reason = deliver_fault(cpu)
        if reason != EXIT_NONE:
            return leave(cpu, reason)


cdef inline bint limit_reached(CPU* cpu) noexcept nogil:
    """Whether as many instructions are retired as this entry may, events in a row counted as instructions."""
    return cpu.retired + (cpu.deliveries if cpu.delivered_at == cpu.retired else 0) >= cpu.limit_at


cdef int attend(CPU* cpu) noexcept nogil:
    """Do what is wanted between two instructions; EXIT_NONE to go on.

    stop_at first, the attention bits second: who asks does it in the other order (attention.pyx).
    """
    cdef uint64_t wanted
    cdef int reason, vector
    cdef bint undisturbed = cpu.single_step and cpu.block_interrupts
    notice_timer(cpu)
    atomic_store(&cpu.stop_at, cpu.retired + 1 if begin_alone(cpu) else next_stop(cpu))
    wanted = atomic_exchange(&cpu.attention, 0)
    if wanted & ATTENTION_SHOOTDOWN:
        answer_shootdown(cpu)
    if wanted & ATTENTION_CODE:
        drop_modified(cpu)
    if wanted & ATTENTION_NMI:
        cpu.nmi_pending = True
    if wanted & ATTENTION_DEBUG:
        adopt_debug(cpu)
    if cpu.watch_hit:
        atomic_or(&cpu.attention, wanted & (ATTENTION_INIT | ATTENTION_SIPI | ATTENTION_KICK | ATTENTION_RUN))
        take_watch_hit(cpu)
        return EXIT_DEBUG
    if wanted & (ATTENTION_INIT | ATTENTION_SIPI):
        atomic_or(&cpu.attention, wanted & (ATTENTION_INIT | ATTENTION_SIPI | ATTENTION_KICK | ATTENTION_RUN))
        return EXIT_AGAIN
    if wanted & ATTENTION_KICK or wanted & ATTENTION_RUN and cpu.run.immediate_exit:
        return EXIT_INTR
    if cpu.single_step and cpu.retired >= cpu.limit_at:
        return EXIT_LIMIT           # an event behind the instruction is a step of its own
    if cpu.eflags & FLAG_RF and cpu.resume_at != cpu.retired:  # it has held for its instruction
        cpu.eflags &= ~<uint32_t>FLAG_RF
    if (cpu.dr_hits or cpu.trap_at == cpu.retired) and cpu.trap_shadow != cpu.retired:
        note_debug_exception(cpu, cpu.dr_hits | (DR6_BS if cpu.trap_at == cpu.retired else 0))
        cpu.dr_hits = 0
        cpu.trap_at = -1
        reason = deliver_debug_exception(cpu)
        if reason != EXIT_NONE:
            return reason
    reason = EXIT_NONE
    if cpu.replay_count and cpu.replay_at == cpu.retired:
        # An instruction waits for the answer of a device, or has it: it is finished before anything else.
        cpu.stop_at = cpu.retired + 1
        return EXIT_LIMIT if limit_reached(cpu) else EXIT_NONE
    if eoi_pending(cpu):
        return tell_eoi(cpu)
    if cpu.nmi_pending and not cpu.nmi_blocked and not undisturbed:
        cpu.nmi_pending = False
        cpu.nmi_blocked = True
        reason = deliver_nmi(cpu)
    elif cpu.eflags & FLAG_IF and not undisturbed and (interrupt_pending(cpu) or window_requested(cpu)):
        if cpu.shadow == cpu.retired:
            cpu.stop_at = cpu.retired + 1
            return EXIT_LIMIT if limit_reached(cpu) else EXIT_NONE
        if not interrupt_pending(cpu):
            return EXIT_IRQ_WINDOW_OPEN
        vector = take_interrupt(cpu)
        if vector < 0:
            atomic_store(&cpu.stop_at, 0)   # a timer, due since notice_timer above
        else:
            reason = deliver_external_interrupt(cpu, vector)
    if reason != EXIT_NONE:
        return reason
    if limit_reached(cpu):
        return EXIT_LIMIT
    if cpu.eflags & FLAG_TF:
        cpu.trap_at = cpu.retired + 1
        cpu.stop_at = cpu.retired + 1
    elif cpu.dr_hits:
        cpu.stop_at = cpu.retired + 1
    elif cpu.eflags & FLAG_IF and not undisturbed and interrupt_pending(cpu):
        cpu.stop_at = 0             # one more, now that the handler allows interrupts
    return EXIT_NONE


cdef int fault(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """The instruction was given up, for the reason in cpu.exception: nothing of it has happened."""
    cdef int reason
    spill(cpu, result, carries, carry)
    cpu.retired -= insn.remaining
    cpu.eip = insn.eip
    if cpu.exception == WATCHED:
        cpu.replay_next = 0         # again, with the same answers
        return enter(cpu, insn, cpu.result, cpu.carries, cpu.carry)
    cpu.watch_hit = cpu.dr_hits = 0     # trapped only if the instruction is finished
    if cpu.exception == DEVICE_ACCESS:
        return leave(cpu, cpu.access_exit)
    if cpu.exception == MAY_WAKE:
        cpu.replay_next = 0         # as above
        return leave(cpu, <int>cpu.error_code)
    reason = deliver_fault(cpu)
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return enter(cpu, insn, cpu.result, cpu.carries, cpu.carry)


cdef int fault_behind(CPU* cpu, Insn* insn) noexcept nogil:
    """The instruction is done, and has gone over to a task that has the exception in cpu.exception at its beginning."""
    cdef int reason
    cpu.retired -= insn.remaining - 1
    reason = deliver_fault(cpu)
    if reason != EXIT_NONE:
        return leave(cpu, reason)
    return enter(cpu, insn, cpu.result, cpu.carries, cpu.carry)


cdef int stale(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """In the place of each instruction of a dropped block: look it up again."""
    cpu.retired -= insn.remaining
    cpu.eip = insn.eip
    return enter(cpu, insn, result, carries, carry)


cdef int breakpoint(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """In the place of an instruction with a breakpoint: out of the guest for the VMM's, unless that is passed.

    The guest's own is a fault, unless RF is set, a load of SS came before, or the instruction was begun already.
    """
    cdef uint32_t linear = cpu.segments[CS].base + insn.eip
    cdef uint32_t hits
    cdef int reason
    cpu.retired -= insn.remaining
    if is_breakpoint(cpu, linear) and not is_passed(cpu, linear):
        spill(cpu, result, carries, carry)
        cpu.eip = insn.eip
        cpu.debug_cause = DEBUG_BREAKPOINT
        cpu.debug_address = linear
        return leave(cpu, EXIT_DEBUG)
    hits = breakpoints_at(cpu, linear)
    if hits and not (
            cpu.eflags & FLAG_RF and cpu.resume_at == cpu.retired or cpu.trap_shadow == cpu.retired
            or cpu.repeat_at == cpu.retired or cpu.replay_count and cpu.replay_at == cpu.retired):
        spill(cpu, result, carries, carry)
        cpu.eip = insn.eip
        note_debug_exception(cpu, hits)
        reason = deliver_debug_exception(cpu)
        return leave(cpu, reason) if reason != EXIT_NONE else enter(cpu, insn, cpu.result, cpu.carries, cpu.carry)
    cpu.retired += insn.remaining
    return handlers[insn.instance](cpu, insn, result, carries, carry)


cdef void link_to(CPU* cpu, Insn* insn, Block** side, Block* block) noexcept nogil:
    """Remember where the end of a block goes, from `insn`, its last one."""
    cdef uint32_t base = cpu.segments[CS].base
    cdef bint crosses = cpu.paging and (
        block.page[0] != block.page[1] or (base + insn.eip ^ base + block.eip) >= PAGE_SIZE)
    set_link(cpu, <Link*>(insn + 1), side, block, crosses)


cdef int resolve_taken(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """A link was not entered: its target is unknown or dropped, or something wants attention."""
    cdef Link* link = <Link*>(insn + 1)
    cdef uint64_t flushes = cpu.flushes
    cdef Block* block
    cpu.retired -= link.taken.count
    if insn.immediate > cpu.segments[CS].limit:
        # Such a link is never made, so that every attempt is seen here: a fault of the jump.
        raise_exception(cpu, EXCEPTION_GP, 0)
        return fault(cpu, insn, result, carries, carry)
    cpu.eip = insn.immediate
    if link.taken.count == DEAD_COUNT:
        block = find_block(cpu)
        if block != NULL and block != cpu.scratch and cpu.flushes == flushes:
            link_to(cpu, insn, &link.taken, block)
    return enter(cpu, insn, result, carries, carry)


cdef int resolve_fallthrough(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """As resolve_taken, for the instruction behind."""
    cdef Link* link = <Link*>(insn + 1)
    cdef uint64_t flushes = cpu.flushes
    cdef Block* block
    cpu.retired -= link.fallthrough.count
    cpu.eip = insn.eip + insn.length
    if link.fallthrough.count == DEAD_COUNT:
        block = find_block(cpu)
        if block != NULL and block != cpu.scratch and cpu.flushes == flushes:
            link_to(cpu, insn, &link.fallthrough, block)
    return enter(cpu, insn, result, carries, carry)


set_stale_handler(stale)
set_breakpoint_handler(breakpoint)
