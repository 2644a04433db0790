"""How a vCPU waits in the core: in HLT, in MWAIT and its kin, or before it is started.

While it waits it is outside the guest, so that no shootdown has to wake it. Each wait returns EXIT_NONE
when the guest goes on, or an exit reason; EXIT_SIGNAL when it is to be resumed. Policies are read when a
wait begins, so that a change counts from the next idle instruction on.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.attention cimport park
from x86core.clock cimport guest_time
from x86core.flags cimport carries_from
from x86core.interrupts cimport eoi_pending, tell_eoi, window_requested
from x86core.intrinsics cimport NO_LIMIT, atomic_and, atomic_exchange, atomic_load, atomic_store, spin_pause
from x86core.lifecycle cimport accept_start
from x86core.monitor cimport monitor_arm, monitor_disarm, monitor_tables, monitor_wait_begin, monitor_wait_end
from x86core.paging cimport look_up
from x86core.polling cimport POLL_HLT, POLL_MWAIT, adjust_poll_window, count_poll, poll_window
from x86core.recording cimport record_wait
from x86core.runnable cimport event_pending, is_runnable, line_changed, next_deadline
from x86core.scan cimport scan_arm, scan_begin, scan_end
from x86core.shootdown cimport answer_shootdown
from x86core.state cimport (ATTENTION_KICK, CPU, DISABLE_EXITS_HLT, DISABLE_EXITS_MWAIT, EXIT_AGAIN, EXIT_HLT,
                            EXIT_INTR, EXIT_IRQ_WINDOW_OPEN, EXIT_MWAIT, EXIT_NONE, EXIT_SIGNAL, FLAG_CF, FLAG_IF,
                            HLT_POLL, IN_GUEST, LINE_SIZE, MONITOR_SCANNED, MONITOR_STATE, MONITOR_TRIGGERED, MP_STATE_HALTED,
                            MP_STATE_RUNNABLE, MWAIT_ADAPTIVE, MWAIT_EXIT, MWAIT_FAULT, MWAIT_HALT, MWAIT_NOP,
                            MWAIT_PASSTHROUGH, MWAIT_POLICIES, MWAIT_SCAN, MWAIT_TIMER, MWAIT_YIELD, OUTSIDE_GUEST,
                            USERSPACE_EXIT_HLT, USERSPACE_EXIT_MWAIT, WAIT_HLT, WAIT_MWAIT, WAIT_NONE, WAIT_START,
                            WAKE_INTERRUPT, WAKE_KICK, WAKE_LIMIT, WAKE_REQUEST, WAKE_START, WAKE_STORE, WaitKind,
                            WakeReason)
from x86core.wake_fd cimport update_wake_fd

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    # Looks at the reasons to go on between two looks at the clock, while spinning.
    SPINS = 32


cdef void enter_guest(CPU* cpu) noexcept nogil:
    """From here on the vCPU stores through its TLB; a shootdown begun before is answered first."""
    atomic_exchange(&cpu.location, IN_GUEST)
    if atomic_load(&cpu.ram.shootdown) != cpu.acknowledged:
        answer_shootdown(cpu)


cdef void leave_guest(CPU* cpu) noexcept nogil:
    """No store of this vCPU is under way; those before are visible."""
    atomic_exchange(&cpu.location, OUTSIDE_GUEST)


cdef bint spin(CPU* cpu, int64_t nanoseconds) noexcept nogil:
    """Look at nothing but the reasons to go on for a while; whether there is one."""
    cdef int64_t until = guest_time(cpu) + nanoseconds
    cdef int _look
    while True:
        for _look in range(SPINS):
            if is_runnable(cpu):
                return True
            spin_pause()
        if guest_time(cpu) >= until:
            return is_runnable(cpu)


cdef int64_t longest_sleep(CPU* cpu) noexcept nogil:
    """Nanoseconds that the vCPU may sleep without a look; negative: for ever."""
    cdef int64_t deadline = next_deadline(cpu)
    cdef int64_t longest = cpu.park_nanoseconds
    cdef int64_t left
    if deadline != NO_LIMIT:
        left = deadline - guest_time(cpu)
        if left < 0:
            left = 0
        if longest < 0 or left < longest:
            longest = left
    if cpu.in_mwait and cpu.wait_policy == MWAIT_SCAN and (longest < 0 or cpu.mwait_scan_ns < longest):
        longest = cpu.mwait_scan_ns
    return longest


cdef bint sleep(CPU* cpu) noexcept nogil:
    """Sleep until the vCPU is runnable; False when Python should look for signals before that.

    `parked` is set before each look at the reasons to go on, and whoever makes such a reason looks at
    `parked` after it (attention.pyx): no wake-up falls between the look and the sleep.
    """
    cdef int64_t until = NO_LIMIT if cpu.park_nanoseconds < 0 else guest_time(cpu) + cpu.park_nanoseconds
    cdef bint over
    while True:
        atomic_exchange(&cpu.parked, 1)
        over = is_runnable(cpu)
        if over or until != NO_LIMIT and guest_time(cpu) >= until:
            break
        park(cpu, longest_sleep(cpu))
    atomic_store(&cpu.parked, 0)
    return over


cdef bint wait(CPU* cpu, WaitKind kind) noexcept nogil:
    """Spin as wait_poll says, then sleep; False when the wait is to be resumed: after a look for signals, or later."""
    cdef int64_t polled = guest_time(cpu) - cpu.wait_began
    cdef int64_t slice
    cdef bint over = False
    if cpu.ram.virtual_time:
        over = is_runnable(cpu)     # time stands still for who waits; another vCPU has its turn
        atomic_store(&cpu.waiting, WAIT_NONE if over else kind)
        return over
    leave_guest(cpu)
    atomic_store(&cpu.waiting, kind)
    update_wake_fd(cpu)
    if polled < cpu.wait_poll:
        slice = cpu.wait_poll - polled
        if cpu.park_nanoseconds >= 0 and cpu.park_nanoseconds < slice:
            slice = cpu.park_nanoseconds
        over = spin(cpu, slice)
    if not over and guest_time(cpu) - cpu.wait_began >= cpu.wait_poll:
        over = sleep(cpu)
    atomic_store(&cpu.waiting, WAIT_NONE)
    enter_guest(cpu)
    return over


cdef void begin_wait(CPU* cpu, int64_t poll, bint adapts) noexcept nogil:
    cpu.wait_began = guest_time(cpu)
    cpu.wait_poll = poll
    cpu.wait_adapts = adapts


cdef int64_t count_wait(CPU* cpu, WaitKind kind, int64_t began, WakeReason cause) noexcept nogil:
    """Count the time of a wait that is over, and record it if somebody wants that; its nanoseconds."""
    cdef int64_t now = guest_time(cpu)
    cdef int64_t waited = now - began
    cdef int64_t polled = waited if waited < cpu.wait_poll else cpu.wait_poll
    cdef int64_t held = polled if cpu.wait_poll == NO_LIMIT else 0
    record_wait(cpu, kind, began, now, polled, cause)
    if kind == WAIT_HLT:
        cpu.stats.halt_wait_ns += waited - polled
        cpu.stats.halt_passthrough_ns += held
    elif kind == WAIT_MWAIT:
        cpu.stats.mwait_wait_ns += waited - polled
        cpu.stats.mwait_passthrough_ns += held
    else:
        cpu.stats.start_wait_ns += waited
    return waited


cdef void end_wait(CPU* cpu, int kind, WakeReason cause) noexcept nogil:
    """Count the wait that is over, and let it adjust the window."""
    cdef int64_t waited = count_wait(cpu, WAIT_HLT if kind == POLL_HLT else WAIT_MWAIT, cpu.wait_began, cause)
    cdef bint valid = cause == WAKE_STORE or cause == WAKE_INTERRUPT    # what the guest waited for
    if cpu.wait_adapts and cpu.wait_poll:
        count_poll(cpu, kind, waited <= cpu.wait_poll, valid, min(waited, cpu.wait_poll))
    if cpu.wait_adapts:
        adjust_poll_window(cpu, kind, waited, valid)
    cpu.wait_began = NO_LIMIT
    # What ended the wait may be a timer, of which nobody has told: look before the next block.
    atomic_store(&cpu.stop_at, 0)
    update_wake_fd(cpu)


cdef bint only_kicked(CPU* cpu) noexcept nogil:
    """Whether a kick, which is hereby answered, is all that is wanted."""
    if event_pending(cpu, False) or not atomic_load(&cpu.attention) & ATTENTION_KICK:
        return False
    atomic_and(&cpu.attention, ~<uint32_t>ATTENTION_KICK)
    return True


cdef WakeReason kick_or_request(CPU* cpu) noexcept nogil:
    """Which of the two it was that has nothing to do with the guest."""
    return WAKE_KICK if atomic_load(&cpu.attention) & ATTENTION_KICK else WAKE_REQUEST


# HLT.

cdef int halt(CPU* cpu) noexcept nogil:
    """HLT: as kvm_run says. `eip` is the address behind it."""
    cpu.stats.halt_exits += 1
    cpu.mp_state = MP_STATE_HALTED
    if cpu.run.userspace_exits & USERSPACE_EXIT_HLT and not cpu.run.disable_exits & DISABLE_EXITS_HLT:
        return EXIT_HLT
    return wait_for_interrupt(cpu)


cdef int wait_for_interrupt(CPU* cpu) noexcept nogil:
    """Wait until an interrupt that is taken, or an NMI. A kick leaves the vCPU HALTED."""
    cdef int64_t began
    if cpu.wait_began == NO_LIMIT:
        if cpu.run.disable_exits & DISABLE_EXITS_HLT:
            begin_wait(cpu, NO_LIMIT, False)
        elif cpu.run.hlt_policy == HLT_POLL:
            begin_wait(cpu, poll_window(cpu, POLL_HLT), True)
        else:
            begin_wait(cpu, 0, False)
    if not wait(cpu, WAIT_HLT):
        return EXIT_SIGNAL
    began = cpu.wait_began
    if accept_start(cpu):
        count_wait(cpu, WAIT_HLT, began, WAKE_START)
        return EXIT_AGAIN
    if event_pending(cpu, False):
        cpu.mp_state = MP_STATE_RUNNABLE
        cpu.stats.halt_wakeup += 1
        cpu.stats.wakes_interrupt += 1
        end_wait(cpu, POLL_HLT, WAKE_INTERRUPT)
        return EXIT_NONE
    end_wait(cpu, POLL_HLT, kick_or_request(cpu))
    if only_kicked(cpu):
        cpu.stats.wakes_kick += 1
        return EXIT_INTR
    return leave_halted(cpu)


cdef int leave_halted(CPU* cpu) noexcept nogil:
    """The VMM is to be told of an EOI, or has written to kvm_run what ends a run(); the vCPU stays HALTED.

    The VMM may have taken back what it wrote.
    """
    if cpu.run.immediate_exit:
        return EXIT_INTR
    if eoi_pending(cpu):
        return tell_eoi(cpu)
    if window_requested(cpu) and cpu.eflags & FLAG_IF:
        return EXIT_IRQ_WINDOW_OPEN
    return EXIT_INTR


# MWAIT and its kin.

cdef int mwait_way(CPU* cpu) noexcept nogil:
    """What MWAIT is at this moment, by kvm_run: what is not intercepted can exit to nobody."""
    if cpu.run.disable_exits & DISABLE_EXITS_MWAIT:
        return MWAIT_PASSTHROUGH
    if cpu.run.userspace_exits & USERSPACE_EXIT_MWAIT:
        return MWAIT_EXIT
    if cpu.run.mwait_policy >= MWAIT_POLICIES:
        return MWAIT_NOP            # stored behind our back; the next run() refuses it
    return cpu.run.mwait_policy


cdef bint is_monitored(int way) noexcept nogil:
    """Whether the monitor is what a store wakes by."""
    return way in (MWAIT_FAULT, MWAIT_ADAPTIVE, MWAIT_PASSTHROUGH, MWAIT_SCAN)


cdef void watch(CPU* cpu, uint32_t linear, uint64_t physical) noexcept nogil:
    """MONITOR and its kin of an address that is translated so: in the way that the policy in force wakes by.

    Where none does, nothing is armed; nor is an address without RAM behind it: no store to it could be seen.
    """
    cdef int way = mwait_way(cpu)
    cpu.watched_line = physical & ~<uint64_t>(LINE_SIZE - 1)
    if physical >= cpu.ram.size or not is_monitored(way):
        monitor_disarm(cpu)
    elif way == MWAIT_SCAN:
        monitor_disarm(cpu)
        scan_arm(cpu, physical)
    elif cpu.paging:
        watch_translated(cpu, linear, physical)
    else:
        monitor_arm(cpu, physical)


cdef void watch_translated(CPU* cpu, uint32_t linear, uint64_t physical) noexcept nogil:
    """Watch the line and the two entries that lead there; nothing is armed while one of them is not protected."""
    cdef uint64_t before[2]
    cdef uint64_t after[2]
    if look_up(cpu, linear, before) == physical and monitor_tables(cpu, before[0], before[1]):
        monitor_arm(cpu, physical)
        # A store to the tables from here on triggers; one until here shows.
        if look_up(cpu, linear, after) == physical and after[0] == before[0] and after[1] == before[1]:
            return
    monitor_disarm(cpu)


cdef int wait_for_store(CPU* cpu, bint masked_interrupts_wake, int64_t until) noexcept nogil:
    """MWAIT, MWAITX and UMWAIT: as kvm_run says, at the latest until a guest time. `eip` is the address behind it."""
    cdef int way = mwait_way(cpu)
    cdef int64_t slice_ends
    if not is_monitored(way):
        monitor_disarm(cpu)
    elif not monitor_wait_begin(cpu, MONITOR_SCANNED if way == MWAIT_SCAN else 0):
        monitor_disarm(cpu)
        cpu.stats.mwait_fallthroughs += 1
        way = MWAIT_NOP
    if way == MWAIT_TIMER:
        slice_ends = guest_time(cpu) + cpu.mwait_timer_ns
        if slice_ends < until:
            until = slice_ends
            cpu.carry_at_limit = False
    return begin_mwait(cpu, way, way, masked_interrupts_wake, until)


cdef int pause_until(CPU* cpu, int64_t until) noexcept nogil:
    """TPAUSE: as MWAIT without a monitor, so that every way of waiting is to wait until then."""
    return begin_mwait(cpu, mwait_way(cpu), MWAIT_HALT, True, until)


cdef int begin_mwait(CPU* cpu, int way, int wait_policy, bint masked_interrupts_wake, int64_t until) noexcept nogil:
    """`way` says whether to wait and to spin, `wait_policy` by what the wait ends."""
    cpu.stats.mwait_instructions += 1
    if way == MWAIT_NOP:
        return EXIT_NONE
    if way == MWAIT_YIELD:
        sched_yield()
        return EXIT_NONE
    if way == MWAIT_EXIT:
        cpu.stats.mwait_exits += 1
        return EXIT_MWAIT
    cpu.wait_policy = wait_policy
    cpu.wait_until = until
    cpu.masked_interrupts_wake = masked_interrupts_wake
    cpu.in_mwait = True
    if wait_policy == MWAIT_SCAN:
        scan_begin(cpu)
    cpu.stats.mwait_waits += 1
    if way == MWAIT_PASSTHROUGH:
        begin_wait(cpu, NO_LIMIT, False)
    elif way == MWAIT_ADAPTIVE:
        begin_wait(cpu, poll_window(cpu, POLL_MWAIT), True)
    else:
        begin_wait(cpu, 0, False)
    return finish_mwait(cpu)


cdef int finish_mwait(CPU* cpu) noexcept nogil:
    cdef int reason = EXIT_NONE
    cdef int64_t began
    cdef WakeReason cause
    cdef bint triggered
    if not wait(cpu, WAIT_MWAIT):
        return EXIT_SIGNAL
    cpu.in_mwait = False
    if cpu.wait_policy == MWAIT_SCAN:
        scan_end(cpu)
    triggered = is_monitored(cpu.wait_policy) and ended_by_store(cpu)
    began = cpu.wait_began
    if accept_start(cpu):
        count_wait(cpu, WAIT_MWAIT, began, WAKE_START)
        return EXIT_AGAIN
    if triggered:
        cause = WAKE_STORE
        cpu.stats.wakes_store += 1
    elif event_pending(cpu, cpu.masked_interrupts_wake):
        cause = WAKE_INTERRUPT
        cpu.stats.wakes_interrupt += 1
    elif only_kicked(cpu):
        cause = WAKE_KICK
        cpu.stats.wakes_kick += 1
        reason = EXIT_INTR
    elif guest_time(cpu) < cpu.wait_until:
        cause = WAKE_REQUEST            # looked at before the next block
        cpu.stats.wakes_kick += 1
    else:
        cause = WAKE_LIMIT
        cpu.stats.wakes_spurious += 1
        if cpu.carry_at_limit:
            cpu.carry = 1
            cpu.carries = carries_from(FLAG_CF)
    end_wait(cpu, POLL_MWAIT, cause)
    return reason


cdef bint ended_by_store(CPU* cpu) noexcept nogil:
    """Use the monitor up; whether a store had triggered it, or changed the line that is scanned."""
    cdef uint64_t word = monitor_wait_end(cpu)
    if word & MONITOR_STATE == MONITOR_TRIGGERED:
        return True
    return word & MONITOR_SCANNED and line_changed(cpu, word & ~<uint64_t>63)


cdef int resume_wait(CPU* cpu) noexcept nogil:
    """At the entry of run(): go on waiting if that is what the vCPU was doing."""
    if cpu.in_mwait:
        return finish_mwait(cpu)
    if cpu.mp_state == MP_STATE_HALTED:
        # In virtual time who has left for HLT waits here all the same, so that the others have their turns.
        if (cpu.wait_began == NO_LIMIT and cpu.run.userspace_exits & USERSPACE_EXIT_HLT
                and not cpu.run.disable_exits & DISABLE_EXITS_HLT and not cpu.ram.virtual_time
                and not is_runnable(cpu)):
            return EXIT_HLT
        return wait_for_interrupt(cpu)
    if cpu.mp_state != MP_STATE_RUNNABLE:
        return wait_for_start(cpu)
    return EXIT_NONE


cdef int wait_for_start(CPU* cpu) noexcept nogil:
    """Before the first SIPI, or after INIT."""
    cdef int64_t began
    if cpu.wait_began == NO_LIMIT:
        begin_wait(cpu, 0, False)
    if not wait(cpu, WAIT_START):
        return EXIT_SIGNAL
    began = cpu.wait_began
    cpu.wait_began = NO_LIMIT
    if accept_start(cpu):
        count_wait(cpu, WAIT_START, began, WAKE_START)
        return EXIT_AGAIN
    count_wait(cpu, WAIT_START, began, kick_or_request(cpu))
    if eoi_pending(cpu):
        return tell_eoi(cpu)
    atomic_and(&cpu.attention, ~<uint32_t>ATTENTION_KICK)
    return EXIT_INTR
