"""Whether a saved vCPU is one that could have been saved: it may come from anywhere.

Each check raises ValueError. What passes can be entered: nothing in it leads outside guest RAM, lets a loop of the
core go on for ever, or makes arithmetic on guest time overflow.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp

from x86core.apic_registers cimport (APIC_DFR, APIC_DIVIDE, APIC_ESR, APIC_ICR_HIGH, APIC_ICR_LOW, APIC_ID,
                                     APIC_INITIAL_COUNT, APIC_LDR, APIC_LVT_ERROR, APIC_LVT_LINT0, APIC_LVT_LINT1,
                                     APIC_LVT_PERFORMANCE, APIC_LVT_THERMAL, APIC_LVT_TIMER, APIC_SVR, APIC_TPR,
                                     APIC_VERSION, BASE_BOOTSTRAP, BASE_ENABLED, apic_register)
from x86core.control cimport CR4_WRITABLE
from x86core.debug_registers cimport DR6_WRITABLE
from x86core.intrinsics cimport NO_LIMIT
from x86core.saved_vcpu cimport SAVED_VERSION
from x86core.state cimport (ATTENTION_INIT, ATTENTION_INTERRUPT, ATTENTION_KICK, ATTENTION_NMI, ATTENTION_RUN,
                            ATTENTION_SIPI, CR0_ET, CR0_PE, CR0_PG, DISABLE_EXITS_HLT, DISABLE_EXITS_MWAIT, EXIT_IO,
                            EXIT_MMIO, FEATURE_MONITORX, FEATURE_WAITPKG, FLAG_VM, FLAGS_ALWAYS, FLAGS_SETTABLE,
                            HLT_POLICIES, LINE_SIZE, MONITOR_IDLE,
                            MONITOR_SCANNED, MONITOR_STATE, MONITOR_WAITING, MP_STATE_HALTED,
                            MP_STATE_RUNNABLE, MWAIT_ADAPTIVE, MWAIT_EXIT, MWAIT_FAULT, MWAIT_HALT, MWAIT_PASSTHROUGH,
                            MWAIT_POLICIES, MWAIT_SCAN, MWAIT_TIMER, PORT_DATA_OFFSET, REPLAY_ENTRIES,
                            USERSPACE_EXIT_HLT, USERSPACE_EXIT_MWAIT, WAIT_START)

cdef enum:
    ATTENTION_POSSIBLE = (ATTENTION_KICK | ATTENTION_INTERRUPT | ATTENTION_NMI | ATTENTION_INIT | ATTENTION_SIPI
                          | ATTENTION_RUN)
    IDLE_BITS = USERSPACE_EXIT_MWAIT | USERSPACE_EXIT_HLT | DISABLE_EXITS_MWAIT | DISABLE_EXITS_HLT

# More than any run retires, and than any guest time in nanoseconds.
cdef object MOST = 1 << 60
# As the attributes of VCPU of these names allow.
cdef object MOST_NANOSECONDS = 10**12
cdef object MOST_FACTOR = 10**6

# What can be set in the APIC's registers, by offset; all other registers are 0.
cdef dict APIC_POSSIBLE = {
    APIC_ID: 0xFF000000,
    APIC_TPR: 0xFF,
    APIC_LDR: 0xFF000000,
    APIC_DFR: 0xFFFFFFFF,
    APIC_SVR: 0x3FF,
    APIC_ESR: 0xFF,
    APIC_ICR_LOW: 0xCCFFF,
    APIC_ICR_HIGH: 0xFF000000,
    APIC_LVT_TIMER: 0x700FF,
    APIC_LVT_THERMAL: 0x107FF,
    APIC_LVT_PERFORMANCE: 0x107FF,
    APIC_LVT_LINT0: 0x1A7FF,
    APIC_LVT_LINT1: 0x1A7FF,
    APIC_LVT_ERROR: 0x100FF,
    APIC_INITIAL_COUNT: 0xFFFFFFFF,
    APIC_DIVIDE: 0xB,
}


cdef int need(bint good, str what) except -1:
    if not good:
        raise ValueError(f"not the state of a vCPU: {what}")
    return 0


cdef int within(str name, value, low, high) except -1:
    return need(low <= value <= high, f"{name} {value} is not in {low}..{high}")


cdef int only_bits(str name, uint64_t value, uint64_t possible) except -1:
    return need(not value & ~possible, f"{name} {value:#x} has bits that do not exist")


cdef int check_saved_vcpu(CPU* cpu, const SavedVCPU* saved) except -1:
    """Raises ValueError unless `cpu` can go on with this state."""
    need(memcmp(saved.magic, b"x86vCPU\0", 8) == 0, "it does not begin as one")
    need(saved.version == SAVED_VERSION, f"its version is {saved.version}, not {SAVED_VERSION}")
    need(saved.size == sizeof(SavedVCPU), f"it says that it has {saved.size} bytes, not {sizeof(SavedVCPU)}")
    need(saved.index == cpu.index, f"it is that of vCPU {saved.index}, not {cpu.index}")
    check_registers(saved)
    check_events(saved)
    check_wait(cpu, saved)
    check_apic(cpu, saved)
    check_exit(saved)
    return 0


cdef int check_registers(const SavedVCPU* saved) except -1:
    only_bits("eflags", saved.eflags, FLAGS_SETTABLE | FLAGS_ALWAYS)
    need(saved.eflags & FLAGS_ALWAYS, "bit 1 of eflags is 0")
    need(saved.cr0 & CR0_ET and saved.cr0 & (CR0_PG | CR0_PE) != CR0_PG, f"cr0 {saved.cr0:#x} cannot be")
    only_bits("cr4", saved.cr4, CR4_WRITABLE)
    within("cpl", saved.cpl, 0, 3)
    need(not saved.cpl or saved.cr0 & CR0_PE, f"cpl is {saved.cpl} in real mode")
    need(not saved.eflags & FLAG_VM or saved.cpl == 3, f"cpl is {saved.cpl} in virtual-8086 mode")
    within("gdt_limit", saved.gdt_limit, 0, 0xFFFF)
    within("idt_limit", saved.idt_limit, 0, 0xFFFF)
    only_bits("features", saved.features, FEATURE_MONITORX | FEATURE_WAITPKG)
    within("instructions", saved.retired, 0, MOST)
    within("guest time", saved.virtual_base, -MOST, MOST)
    only_bits("dr_hits", saved.dr_hits, DR6_WRITABLE)
    for name, boundary in (("trap_shadow", saved.trap_shadow), ("trap_at", saved.trap_at), ("shadow", saved.shadow),
                           ("resume_at", saved.resume_at), ("repeat_at", saved.repeat_at)):
        within(name, boundary, -1, MOST)
    return 0


cdef int check_events(const SavedVCPU* saved) except -1:
    within("mp_state", saved.mp_state, MP_STATE_RUNNABLE, MP_STATE_HALTED)
    within("last_event", saved.last_event, -1, 255)
    only_bits("attention", saved.attention, ATTENTION_POSSIBLE)
    within("start-up vector", saved.sipi_vector, 0, 255)
    for name, flag in (("nmi_pending", saved.nmi_pending), ("nmi_blocked", saved.nmi_blocked),
                       ("single_step", saved.single_step), ("completes_access", saved.completes_access),
                       ("in_mwait", saved.in_mwait), ("masked_interrupts_wake", saved.masked_interrupts_wake),
                       ("carry_at_limit", saved.carry_at_limit), ("wait_adapts", saved.wait_adapts)):
        within(name, flag, 0, 1)
    return 0


cdef int check_wait(CPU* cpu, const SavedVCPU* saved) except -1:
    cdef uint64_t state = saved.monitor & MONITOR_STATE
    within("waiting", saved.waiting, 0, WAIT_START)
    need(0 <= saved.wait_policy < MWAIT_POLICIES or saved.wait_policy in (MWAIT_PASSTHROUGH, MWAIT_EXIT),
         f"wait_policy {saved.wait_policy} is unknown")
    for name, time in (("wait_began", saved.wait_began), ("wait_until", saved.wait_until),
                       ("wait_poll", saved.wait_poll)):
        within(name, time, 0, NO_LIMIT)
    for name, duration in (("poll_window of HLT", saved.poll_window[0]), ("poll_window of MWAIT", saved.poll_window[1]),
                           ("halt_poll_ns", saved.halt_poll_ns),
                           ("halt_poll_ns_grow_start", saved.halt_poll_ns_grow_start),
                           ("mwait_timer_ns", saved.mwait_timer_ns), ("mwait_scan_ns", saved.mwait_scan_ns)):
        within(name, duration, 0, MOST_NANOSECONDS)
    within("halt_poll_ns_grow", saved.halt_poll_ns_grow, 0, MOST_FACTOR)
    within("halt_poll_ns_shrink", saved.halt_poll_ns_shrink, 0, MOST_FACTOR)
    only_bits("monitor", saved.monitor & (LINE_SIZE - 1), MONITOR_STATE | MONITOR_SCANNED)
    need(saved.monitor < cpu.ram.size, f"the monitored line {saved.monitor:#x} is not in RAM")
    need(state != MONITOR_IDLE or saved.monitor == MONITOR_IDLE, "an idle monitor has a line")
    for table in (saved.monitored_tables[0], saved.monitored_tables[1]):
        need(not table or table % LINE_SIZE == 1 and table < cpu.ram.size, f"there is no table at {table:#x}")
    if saved.in_mwait:
        need(saved.mp_state == MP_STATE_RUNNABLE, "it waits in MWAIT and elsewhere")
        need(saved.wait_policy in (MWAIT_FAULT, MWAIT_HALT, MWAIT_TIMER, MWAIT_SCAN, MWAIT_ADAPTIVE,
                                   MWAIT_PASSTHROUGH), "it waits in MWAIT by a policy that does not wait")
        need(saved.wait_began != NO_LIMIT, "its MWAIT never began")
    if state == MONITOR_WAITING:
        need(saved.in_mwait, "its monitor waits and it does not")
        need((saved.wait_policy == MWAIT_SCAN) == (saved.monitor & MONITOR_SCANNED != 0),
             "its monitor is not of the policy by which it waits")
    return 0


cdef int check_apic(CPU* cpu, const SavedVCPU* saved) except -1:
    cdef uint64_t page = saved.apic_base & 0xFFFFF000U
    cdef int offset
    cdef uint32_t value
    only_bits("IA32_APIC_BASE", saved.apic_base, 0xFFFFF000U | BASE_ENABLED | BASE_BOOTSTRAP)
    need(page >= cpu.ram.size, f"its local APIC at {page:#x} is in RAM")
    for offset in range(0, 0x400, 0x10):
        value = saved.apic_registers[offset >> 4]
        if offset == APIC_VERSION:
            need(value == apic_register(cpu, APIC_VERSION)[0], f"it has a local APIC of version {value:#x}")
        else:
            only_bits(f"the local APIC's register {offset:03X}h", value, APIC_POSSIBLE.get(offset, 0))
    need(saved.apic_registers[APIC_DFR >> 4] | 0xF0000000U == 0xFFFFFFFFU, "bits 27:0 of DFR are not all 1")
    only_bits("IRR", saved.irr[0] & 0xFFFF, 0)
    only_bits("ISR", saved.isr[0] & 0xFFFF, 0)
    only_bits("EOIs", saved.eoi[0] & 0xFFFF, 0)
    only_bits("APIC errors", saved.errors, 0xFF)
    within("APIC timer's deadline", saved.timer_at, 0, NO_LIMIT)
    within("APIC timer's period", saved.timer_period, 0, 0xFFFFFFFF * 128)
    return 0


cdef int check_exit(const SavedVCPU* saved) except -1:
    within("replay_at", saved.replay_at, -1, MOST)
    within("replay_count", saved.replay_count, 0, REPLAY_ENTRIES)
    within("replay_next", saved.replay_next, 0, saved.replay_count)
    within("mwait_policy", saved.run.mwait_policy, 0, MWAIT_POLICIES - 1)
    within("hlt_policy", saved.run.hlt_policy, 0, HLT_POLICIES - 1)
    only_bits("userspace_exits and disable_exits", saved.run.userspace_exits | saved.run.disable_exits, IDLE_BITS)
    need(saved.access_exit in (0, EXIT_IO, EXIT_MMIO), f"exit {saved.access_exit} waits for no answer")
    if saved.access_exit == EXIT_IO:
        need(saved.run.exit.io.size in (1, 2, 4) and saved.run.exit.io.direction <= 1 and saved.run.exit.io.count == 1
             and saved.run.exit.io.data_offset == PORT_DATA_OFFSET, "its port access cannot be")
    elif saved.access_exit == EXIT_MMIO:
        need(1 <= saved.run.exit.mmio.len <= 4 and saved.run.exit.mmio.is_write <= 1,
             "its access to a device in memory cannot be")
    return 0
