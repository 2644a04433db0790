"""Into the guest and out of it again: one entry of run(), and the completion of the exit before it."""
from libc.stdint cimport int64_t, uint64_t

from x86core.apic_timer cimport next_stop
from x86core.dispatch cimport enter
from x86core.guest_debug cimport adopt_debug, describe_debug_exit
from x86core.idle cimport enter_guest, leave_guest, resume_wait
from x86core.intrinsics cimport atomic_load, atomic_store, frame_address
from x86core.interrupts cimport accepts_external, eoi_pending, interrupt_pending, window_requested
from x86core.lifecycle cimport accept_start
from x86core.runnable cimport is_waiting_state
from x86core.scan cimport scan_monitors
from x86core.state cimport (CPU, DEBUG_NONE, EXIT_AGAIN, EXIT_DEBUG, EXIT_FAIL_ENTRY, EXIT_IDLE, EXIT_INTR, EXIT_IO,
                            EXIT_IRQ_WINDOW_OPEN, EXIT_LIMIT, EXIT_MMIO, EXIT_NONE, EXIT_SIGNAL, FLAG_IF, FLAG_TF,
                            HLT_POLICIES, MWAIT_POLICIES, NOT_ALONE, REPLAY_ENTRIES, USERSPACE_EXIT_HLT,
                            USERSPACE_EXIT_MWAIT)

cdef enum:
    # The bits of kvm_run.userspace_exits, which are those of kvm_run.disable_exits too.
    IDLE_BITS = USERSPACE_EXIT_MWAIT | USERSPACE_EXIT_HLT


cdef int step_once(CPU* cpu) noexcept nogil:
    """Finish the instruction under way before attention is looked at: EXIT_LIMIT when that was all."""
    cdef int64_t limit_at = cpu.limit_at
    cdef int reason
    cpu.limit_at = cpu.retired + 1
    atomic_store(&cpu.stop_at, cpu.limit_at)
    enter_guest(cpu)
    reason = enter(cpu, NULL, cpu.result, cpu.carries, cpu.carry)
    leave_guest(cpu)
    cpu.limit_at = limit_at
    return reason


cdef int enter_once(CPU* cpu) noexcept nogil:
    """Into the guest and out of it again."""
    cdef int reason
    cpu.stack_top = frame_address()
    cpu.deliveries = 0
    cpu.delivered_at = -1
    cpu.alone = NOT_ALONE
    cpu.debug_cause = DEBUG_NONE
    cpu.entered_retired = cpu.retired
    if cpu.debug_next != NULL or cpu.points_changed:
        adopt_debug(cpu)
    if cpu.completes_access:
        cpu.completes_access = False
        if cpu.run.immediate_exit or atomic_load(&cpu.attention):
            reason = step_once(cpu)
            # INIT and SIPI are taken below, now that the instruction is finished.
            if reason != EXIT_AGAIN and (reason != EXIT_LIMIT or cpu.single_step):
                return reason
    if cpu.run.immediate_exit:
        return EXIT_INTR
    scan_monitors(cpu)
    reason = EXIT_AGAIN
    while reason == EXIT_AGAIN:
        atomic_store(&cpu.stop_at, next_stop(cpu))
        enter_guest(cpu)
        # After the exchange in enter_guest: what was asked for before stop_at was raised is seen here.
        if (atomic_load(&cpu.attention) or cpu.nmi_pending or cpu.eflags & FLAG_TF or cpu.trap_at == cpu.retired
                or interrupt_pending(cpu) or eoi_pending(cpu) or window_requested(cpu) or cpu.watch_hit
                or cpu.dr_hits):
            atomic_store(&cpu.stop_at, 0)
            accept_start(cpu)
        reason = resume_wait(cpu) if is_waiting_state(cpu) else EXIT_NONE
        if reason == EXIT_NONE:
            reason = enter(cpu, NULL, cpu.result, cpu.carries, cpu.carry)
        leave_guest(cpu)
    if reason == EXIT_SIGNAL and cpu.ram.virtual_time and is_waiting_state(cpu):
        return EXIT_IDLE
    return reason


cdef void complete_access(CPU* cpu) noexcept nogil:
    """Take the answer to an EXIT_IO or EXIT_MMIO, for when the instruction is executed again."""
    cdef uint64_t answer = cpu.port_data[0]
    if cpu.access_exit == EXIT_MMIO:
        answer = (<uint64_t*>cpu.run.exit.mmio.data)[0]
    cpu.access_exit = 0
    cpu.completes_access = True
    cpu.replay_next = 0
    if cpu.replay_count < REPLAY_ENTRIES:
        cpu.replay[cpu.replay_count] = answer
        cpu.replay_count += 1


cdef bint may_enter(CPU* cpu) noexcept nogil:
    """Whether kvm_run holds nothing that is unknown here; otherwise its exit reason is set."""
    if (cpu.run.mwait_policy < MWAIT_POLICIES and cpu.run.hlt_policy < HLT_POLICIES
            and not (cpu.run.userspace_exits | cpu.run.disable_exits) & ~IDLE_BITS):
        return True
    cpu.run.exit_reason = EXIT_FAIL_ENTRY
    return False


cdef void note_exit(CPU* cpu, int reason) noexcept nogil:
    """What kvm_run and the counters say of an exit."""
    cpu.stats.exits += 1
    if reason == EXIT_IO:
        cpu.stats.io_exits += 1
    elif reason == EXIT_MMIO:
        cpu.stats.mmio_exits += 1
    elif reason == EXIT_IRQ_WINDOW_OPEN:
        cpu.stats.irq_window_exits += 1
    elif reason == EXIT_DEBUG:
        describe_debug_exit(cpu)
    cpu.run.exit_reason = reason
    cpu.run.if_flag = cpu.eflags & FLAG_IF != 0
    cpu.run.ready_for_interrupt_injection = (
        cpu.run.if_flag and cpu.shadow != cpu.retired and accepts_external(cpu) and not interrupt_pending(cpu))
