"""How a vCPU sleeps in the core: in HLT, in MWAIT, or before it is started.

While it sleeps it is outside the guest, so that no shootdown has to wake it. Each wait returns EXIT_NONE
when the guest goes on, or an exit reason; EXIT_SIGNAL when it is to be resumed.
"""
from libc.stdint cimport uint32_t

from x86core.attention cimport event_pending, is_wanted, park
from x86core.intrinsics cimport atomic_and, atomic_exchange, atomic_load, atomic_store
from x86core.monitor cimport monitor_disarm, monitor_is_waiting, monitor_wait_begin, monitor_wait_end
from x86core.shootdown cimport answer_shootdown
from x86core.state cimport (ATTENTION_KICK, CPU, EXIT_HLT, EXIT_INTR, EXIT_IRQ_WINDOW_OPEN,
                            EXIT_NONE, EXIT_SIGNAL, FLAG_IF, IN_GUEST, MP_STATE_HALTED, MP_STATE_RUNNABLE,
                            OUTSIDE_GUEST, USERSPACE_EXIT_HLT, WAIT_HLT, WAIT_MWAIT, WAIT_NONE, WAIT_START, WaitKind)


cdef void enter_guest(CPU* cpu) noexcept nogil:
    """From here on the vCPU stores through its TLB; a shootdown begun before is answered first."""
    atomic_exchange(&cpu.location, IN_GUEST)
    if atomic_load(&cpu.ram.shootdown) != cpu.acknowledged:
        answer_shootdown(cpu)


cdef void leave_guest(CPU* cpu) noexcept nogil:
    """No store of this vCPU is under way; those before are visible."""
    atomic_exchange(&cpu.location, OUTSIDE_GUEST)


cdef bint must_wait(CPU* cpu, WaitKind kind) noexcept nogil:
    if kind == WAIT_START:
        return not atomic_load(&cpu.attention) & ATTENTION_KICK
    if is_wanted(cpu, kind == WAIT_MWAIT and cpu.masked_interrupts_wake):
        return False
    if cpu.run.request_interrupt_window and cpu.eflags & FLAG_IF:
        return False
    return kind != WAIT_MWAIT or monitor_is_waiting(cpu)


cdef bint sleep(CPU* cpu, WaitKind kind) noexcept nogil:
    """Sleep until the wait is over; False when Python should look for signals before it goes on.

    `parked` is set before each look at the reasons to wake, and whoever makes such a reason looks at
    `parked` after it (attention.pyx): no wake-up falls between the look and the sleep.
    """
    cdef bint over
    leave_guest(cpu)
    atomic_store(&cpu.waiting, kind)
    while True:
        atomic_exchange(&cpu.parked, 1)
        over = not must_wait(cpu, kind)
        if over:
            break
        park(cpu, cpu.park_nanoseconds)
        if cpu.park_nanoseconds >= 0:
            over = not must_wait(cpu, kind)
            break
    atomic_store(&cpu.parked, 0)
    atomic_store(&cpu.waiting, WAIT_NONE)
    enter_guest(cpu)
    return over


cdef bint only_kicked(CPU* cpu) noexcept nogil:
    """Whether a kick, which is hereby answered, is all that is wanted."""
    if event_pending(cpu, False) or not atomic_load(&cpu.attention) & ATTENTION_KICK:
        return False
    atomic_and(&cpu.attention, ~<uint32_t>ATTENTION_KICK)
    return True


cdef int wait_for_interrupt(CPU* cpu) noexcept nogil:
    """Block in HLT until an interrupt that is taken or an NMI. A kick leaves the vCPU HALTED."""
    if not sleep(cpu, WAIT_HLT):
        return EXIT_SIGNAL
    if only_kicked(cpu):
        cpu.stats.wakes_kick += 1
        return EXIT_INTR
    if not is_wanted(cpu, False):
        return EXIT_IRQ_WINDOW_OPEN
    cpu.mp_state = MP_STATE_RUNNABLE
    cpu.stats.halt_wakeup += 1
    cpu.stats.wakes_interrupt += 1
    return EXIT_NONE


cdef int wait_for_store(CPU* cpu, bint masked_interrupts_wake) noexcept nogil:
    """Block in MWAIT until the monitored line is stored to, or anything else that ends MWAIT."""
    if not monitor_wait_begin(cpu):
        monitor_disarm(cpu)
        return EXIT_NONE
    cpu.masked_interrupts_wake = masked_interrupts_wake
    cpu.stats.mwait_waits += 1
    return finish_wait_for_store(cpu)


cdef int finish_wait_for_store(CPU* cpu) noexcept nogil:
    cpu.waits_for_store = not sleep(cpu, WAIT_MWAIT)
    if cpu.waits_for_store:
        return EXIT_SIGNAL
    if monitor_wait_end(cpu):
        cpu.stats.wakes_store += 1
    elif only_kicked(cpu):
        cpu.stats.wakes_kick += 1
        return EXIT_INTR
    else:
        cpu.stats.wakes_interrupt += 1
    return EXIT_NONE


cdef int resume_wait(CPU* cpu) noexcept nogil:
    """At the entry of run(): go on waiting if that is what the vCPU was doing."""
    if cpu.mp_state == MP_STATE_HALTED:
        if cpu.run.userspace_exits & USERSPACE_EXIT_HLT and must_wait(cpu, WAIT_HLT):
            return EXIT_HLT
        return wait_for_interrupt(cpu)
    if cpu.mp_state != MP_STATE_RUNNABLE:
        # Not started yet; only a kick ends that here. A start_* is done from outside run().
        if not sleep(cpu, WAIT_START):
            return EXIT_SIGNAL
        atomic_and(&cpu.attention, ~<uint32_t>ATTENTION_KICK)
        return EXIT_INTR
    if cpu.waits_for_store:
        return finish_wait_for_store(cpu)
    return EXIT_NONE
