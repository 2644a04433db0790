"""The whole state of a vCPU that is out of run(), and its return into a vCPU of the same number.

What can be made anew is left out: translations, decoded code, attributes of pages, answers to shootdowns. A monitor
that was armed protects its page again; where that cannot be had at once, it comes back as triggered, since an early
wake is legal and a lost one is not.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

from x86core.blocks cimport flush_blocks
from x86core.debug_registers cimport update_debug_registers
from x86core.flags cimport get_eflags, set_eflags
from x86core.intrinsics cimport atomic_and, atomic_load, atomic_or, atomic_store, atomic_swap_if
from x86core.lifecycle cimport abandon_wait
from x86core.monitor cimport monitor_arm, monitor_disarm, monitor_tables
from x86core.paging cimport flush_translations, update_alignment
from x86core.scan cimport scan_begin
from x86core.segmentation cimport set_segment, update_context
from x86core.shootdown cimport answer_shootdown
from x86core.state cimport (ATTENTION_CODE, ATTENTION_DEBUG, ATTENTION_KICK, ATTENTION_SHOOTDOWN, CR0_PG, LINE_SIZE,
                            MONITOR_ARMED, MONITOR_SCANNED, MONITOR_STATE, MONITOR_TRIGGERED, MONITOR_WAITING,
                            MWAIT_SCAN, SEGMENTS)
from x86core.wake_fd cimport update_wake_fd

cdef enum:
    # Asked of this vCPU because of what its machine has decoded and protected; a new one has nothing of it.
    ATTENTION_DERIVED = ATTENTION_SHOOTDOWN | ATTENTION_CODE | ATTENTION_DEBUG


cdef void save_vcpu(CPU* cpu, SavedVCPU* saved) noexcept:
    """Fill in the whole structure. The vCPU is out of run()."""
    cdef int number
    memset(saved, 0, sizeof(SavedVCPU))
    memcpy(saved.magic, b"x86vCPU\0", 8)
    saved.version = SAVED_VERSION
    saved.size = sizeof(SavedVCPU)
    saved.index = cpu.index
    memcpy(saved.gpr, cpu.gpr, sizeof(saved.gpr))
    saved.eip = cpu.eip
    saved.eflags = get_eflags(cpu)
    for number in range(SEGMENTS):
        saved.segments[number].base = cpu.segments[number].base
        saved.segments[number].limit = cpu.segments[number].limit
        saved.segments[number].selector = cpu.segments[number].selector
        saved.segments[number].access = cpu.segments[number].access
    saved.cr0 = cpu.cr0
    saved.cr2 = cpu.cr2
    saved.cr3 = cpu.cr3
    saved.cr4 = cpu.cr4
    saved.cpl = cpu.cpl
    memcpy(saved.dr, cpu.dr, sizeof(saved.dr))
    saved.gdt_base = cpu.gdt_base
    saved.gdt_limit = cpu.gdt_limit
    saved.idt_base = cpu.idt_base
    saved.idt_limit = cpu.idt_limit
    saved.umwait_control = cpu.umwait_control
    saved.features = cpu.features
    saved.misc_enable = cpu.misc_enable
    saved.tsc_offset = cpu.tsc_offset
    saved.retired = cpu.retired
    saved.virtual_base = cpu.virtual_base
    saved.trap_shadow = cpu.trap_shadow
    saved.trap_at = cpu.trap_at
    saved.resume_at = cpu.resume_at
    saved.repeat_at = cpu.repeat_at
    saved.dr_hits = cpu.dr_hits
    saved.shadow = cpu.shadow
    saved.mp_state = cpu.mp_state
    saved.last_event = cpu.last_event
    saved.attention = <uint32_t>atomic_load(&cpu.attention) & ~<uint32_t>ATTENTION_DERIVED
    saved.sipi_vector = <uint32_t>atomic_load(&cpu.sipi_vector)
    saved.waiting = <uint32_t>atomic_load(&cpu.waiting)
    saved.nmi_pending = cpu.nmi_pending
    saved.nmi_blocked = cpu.nmi_blocked
    saved.single_step = cpu.single_step
    saved.completes_access = cpu.completes_access
    memcpy(saved.interrupts, cpu.interrupts, sizeof(saved.interrupts))
    save_wait(cpu, saved)
    save_apic(cpu, saved)
    saved.replay_at = cpu.replay_at
    saved.replay_count = cpu.replay_count
    saved.replay_next = cpu.replay_next
    saved.access_exit = cpu.access_exit
    memcpy(saved.replay, cpu.replay, cpu.replay_count * sizeof(uint64_t))
    saved.port_data = cpu.port_data[0]
    memcpy(&saved.run, cpu.run, sizeof(saved.run))
    memcpy(&saved.stats, &cpu.stats, sizeof(saved.stats))
    saved.host_triggers = atomic_load(&cpu.ram.host_triggers)


cdef void save_wait(CPU* cpu, SavedVCPU* saved) noexcept:
    saved.monitor = atomic_load(&cpu.ram.monitors[cpu.index])
    memcpy(saved.line, cpu.snapshot, sizeof(saved.line))
    memcpy(saved.monitored_tables, cpu.monitored_tables, sizeof(saved.monitored_tables))
    saved.in_mwait = cpu.in_mwait
    saved.masked_interrupts_wake = cpu.masked_interrupts_wake
    saved.carry_at_limit = cpu.carry_at_limit
    saved.wait_adapts = cpu.wait_adapts
    saved.wait_policy = cpu.wait_policy
    saved.wait_began = cpu.wait_began
    saved.wait_until = cpu.wait_until
    saved.wait_poll = cpu.wait_poll
    memcpy(saved.poll_window, cpu.poll_window, sizeof(saved.poll_window))
    saved.halt_poll_ns = cpu.halt_poll_ns
    saved.halt_poll_ns_grow = cpu.halt_poll_ns_grow
    saved.halt_poll_ns_grow_start = cpu.halt_poll_ns_grow_start
    saved.halt_poll_ns_shrink = cpu.halt_poll_ns_shrink
    saved.mwait_timer_ns = cpu.mwait_timer_ns
    saved.mwait_scan_ns = cpu.mwait_scan_ns


cdef void save_apic(CPU* cpu, SavedVCPU* saved) noexcept:
    saved.apic_base = cpu.apic.base
    memcpy(saved.apic_registers, cpu.apic.registers, sizeof(saved.apic_registers))
    memcpy(saved.irr, cpu.apic.irr, sizeof(saved.irr))
    memcpy(saved.isr, cpu.apic.isr, sizeof(saved.isr))
    memcpy(saved.tmr, cpu.apic.tmr, sizeof(saved.tmr))
    memcpy(saved.eoi, cpu.apic.eoi, sizeof(saved.eoi))
    saved.errors = cpu.apic.errors
    saved.timer_at = cpu.apic.timer_at
    saved.timer_period = cpu.apic.timer_period
    saved.tsc_deadline = cpu.apic.tsc_deadline


cdef void restore_vcpu(CPU* cpu, const SavedVCPU* saved) noexcept:
    """Take over a state that was checked. The vCPU is out of run(), its memory as it was saved."""
    cdef int number
    cdef const SavedSegment* segment
    abandon_wait(cpu)
    memcpy(cpu.gpr, saved.gpr, sizeof(saved.gpr))
    cpu.eip = saved.eip
    set_eflags(cpu, saved.eflags)
    cpu.cr0 = saved.cr0
    cpu.cr2 = saved.cr2
    cpu.cr3 = saved.cr3
    cpu.cr4 = saved.cr4
    cpu.cpl = saved.cpl
    cpu.paging = saved.cr0 & CR0_PG != 0
    memcpy(cpu.dr, saved.dr, sizeof(saved.dr))
    cpu.gdt_base = saved.gdt_base
    cpu.gdt_limit = saved.gdt_limit
    cpu.idt_base = saved.idt_base
    cpu.idt_limit = saved.idt_limit
    cpu.umwait_control = saved.umwait_control
    cpu.features = saved.features
    cpu.misc_enable = saved.misc_enable
    cpu.tsc_offset = saved.tsc_offset
    cpu.retired = saved.retired
    cpu.virtual_base = saved.virtual_base
    cpu.trap_shadow = saved.trap_shadow
    cpu.trap_at = saved.trap_at
    cpu.resume_at = saved.resume_at
    cpu.repeat_at = saved.repeat_at
    cpu.dr_hits = saved.dr_hits
    cpu.shadow = saved.shadow
    cpu.mp_state = saved.mp_state
    cpu.last_event = saved.last_event
    atomic_and(&cpu.attention, ATTENTION_KICK)      # a kick is never lost
    atomic_or(&cpu.attention, saved.attention)
    atomic_store(&cpu.sipi_vector, saved.sipi_vector)
    cpu.nmi_pending = saved.nmi_pending
    cpu.nmi_blocked = saved.nmi_blocked
    cpu.single_step = saved.single_step
    cpu.debug_seen_at = -1
    cpu.watch_hit = 0
    cpu.completes_access = saved.completes_access
    memcpy(cpu.interrupts, saved.interrupts, sizeof(saved.interrupts))
    restore_apic(cpu, saved)
    cpu.replay_at = saved.replay_at
    cpu.replay_count = saved.replay_count
    cpu.replay_next = saved.replay_next
    cpu.access_exit = saved.access_exit
    memcpy(cpu.replay, saved.replay, sizeof(saved.replay))
    cpu.port_data[0] = saved.port_data
    memcpy(cpu.run, &saved.run, sizeof(saved.run))
    # What follows from the rest.
    update_debug_registers(cpu)
    flush_blocks(cpu)
    flush_translations(cpu, True)
    update_alignment(cpu)
    answer_shootdown(cpu)
    for number in range(SEGMENTS):
        segment = &saved.segments[number]
        set_segment(cpu, number, segment.selector, segment.base, segment.limit, segment.access)
    update_context(cpu)
    restore_wait(cpu, saved)
    memcpy(&cpu.stats, &saved.stats, sizeof(saved.stats))   # last: arming counts
    atomic_store(&cpu.ram.host_triggers, saved.host_triggers)
    update_wake_fd(cpu)


cdef void restore_wait(CPU* cpu, const SavedVCPU* saved) noexcept:
    memcpy(cpu.snapshot, saved.line, sizeof(saved.line))
    cpu.masked_interrupts_wake = saved.masked_interrupts_wake
    cpu.carry_at_limit = saved.carry_at_limit
    cpu.wait_adapts = saved.wait_adapts
    cpu.wait_policy = saved.wait_policy
    cpu.wait_began = saved.wait_began
    cpu.wait_until = saved.wait_until
    cpu.wait_poll = saved.wait_poll
    memcpy(cpu.poll_window, saved.poll_window, sizeof(saved.poll_window))
    cpu.halt_poll_ns = saved.halt_poll_ns
    cpu.halt_poll_ns_grow = saved.halt_poll_ns_grow
    cpu.halt_poll_ns_grow_start = saved.halt_poll_ns_grow_start
    cpu.halt_poll_ns_shrink = saved.halt_poll_ns_shrink
    cpu.mwait_timer_ns = saved.mwait_timer_ns
    cpu.mwait_scan_ns = saved.mwait_scan_ns
    restore_monitor(cpu, saved.monitor, saved.monitored_tables)
    cpu.in_mwait = saved.in_mwait
    if cpu.in_mwait and cpu.wait_policy == MWAIT_SCAN:
        scan_begin(cpu)
    atomic_store(&cpu.waiting, saved.waiting)


cdef uint64_t address_of(uint64_t table) noexcept:
    """Of the line of a table entry; beyond all RAM for none."""
    return table & ~<uint64_t>(LINE_SIZE - 1) if table else ~<uint64_t>0


cdef void restore_monitor(CPU* cpu, uint64_t word, const uint64_t* tables) noexcept:
    cdef uint64_t* monitor = &cpu.ram.monitors[cpu.index]
    cdef uint64_t line = word & ~<uint64_t>(LINE_SIZE - 1)
    monitor_disarm(cpu)
    if word & MONITOR_STATE not in (MONITOR_ARMED, MONITOR_WAITING):
        atomic_store(monitor, word)
        return
    if word & MONITOR_SCANNED:
        atomic_store(monitor, word)
        return
    if monitor_tables(cpu, address_of(tables[0]), address_of(tables[1])):
        monitor_arm(cpu, line)
    # Not armed: somebody in the guest may still store there unseen. Armed no more: somebody did meanwhile.
    if not atomic_swap_if(monitor, line | MONITOR_ARMED, word):
        atomic_store(monitor, line | MONITOR_TRIGGERED)


cdef void restore_apic(CPU* cpu, const SavedVCPU* saved) noexcept:
    cpu.apic.base = saved.apic_base
    memcpy(cpu.apic.registers, saved.apic_registers, sizeof(saved.apic_registers))
    memcpy(cpu.apic.irr, saved.irr, sizeof(saved.irr))
    memcpy(cpu.apic.isr, saved.isr, sizeof(saved.isr))
    memcpy(cpu.apic.tmr, saved.tmr, sizeof(saved.tmr))
    memcpy(cpu.apic.eoi, saved.eoi, sizeof(saved.eoi))
    cpu.apic.errors = saved.errors
    atomic_store(&cpu.apic.timer_at, saved.timer_at)
    cpu.apic.timer_period = saved.timer_period
    cpu.apic.tsc_deadline = saved.tsc_deadline
