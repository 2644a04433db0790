"""The beginnings of a vCPU: its structure, RESET, INIT and SIPI, and two ways to start one without them."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from x86core.apic cimport DEFAULT_APIC_BASE, reset_apic
from x86core.apic_registers cimport APIC_ID, BASE_BOOTSTRAP, BASE_ENABLED, apic_register
from x86core.blocks cimport blocks_create, flush_blocks
from x86core.debug_registers cimport DR6_ONES, DR7_ONES, update_debug_registers
from x86core.flags cimport set_eflags
from x86core.guest_debug cimport forget_debug
from x86core.hostmemory cimport reserve
from x86core.intrinsics cimport NO_LIMIT, atomic_and, atomic_load, atomic_store
from x86core.monitor cimport monitor_disarm
from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.paging cimport flush_translations
from x86core.scan cimport scan_end
from x86core.segmentation cimport set_segment, update_context
from x86core.state cimport (ATTENTION_INIT, ATTENTION_KICK, ATTENTION_NMI, ATTENTION_SIPI, CPU, CR0_CD, CR0_ET,
                            CR0_NW, CR0_PE, CS, EDX, ES, ESP, FLAGS_ALWAYS, GS, LDTR, MP_STATE_INIT_RECEIVED,
                            MP_STATE_RUNNABLE, MP_STATE_UNINITIALIZED, MWAIT_SCAN, PAGE_SIZE, PORT_DATA_OFFSET, RAM,
                            SEGMENTS, KvmRun)
from x86core.wake_fd cimport update_wake_fd

cdef enum:
    # As KVM's module parameters of these names: nanoseconds, a factor and a divisor.
    HALT_POLL_NS = 200000
    HALT_POLL_NS_GROW = 2
    HALT_POLL_NS_GROW_START = 10000
    HALT_POLL_NS_SHRINK = 0
    MWAIT_TIMER_NS = 50000      # a slice of policy timer
    MWAIT_SCAN_NS = 1000000     # policy scan: a host's timer tick, which makes every vCPU exit and enter


cdef CPU* create_cpu(RAM* ram, int index) except NULL:
    """The structure of a vCPU, which lives as long as its memory. Raises MemoryError or OSError."""
    cdef CPU* cpu = <CPU*>reserve(sizeof(CPU))
    cdef void* run = reserve(2 * PAGE_SIZE)
    cpu.ram = ram
    cpu.index = index
    cpu.run = <KvmRun*>run
    cpu.port_data = <uint64_t*>(<uint8_t*>run + PORT_DATA_OFFSET)
    cpu.wake_fd = cpu.wake_event = cpu.wake_timer = -1
    cpu.wake_timer_at = cpu.wait_began = NO_LIMIT
    cpu.soft_stop_at = -1
    memset(cpu.tlb_filled, 0xFF, sizeof(cpu.tlb_filled))    # tags of 0 match: RESET drops them all
    blocks_create(cpu)
    cpu.acknowledged = atomic_load(&ram.shootdown)
    ram.vcpus[index] = cpu
    if ram.vcpu_limit <= <uint32_t>index:
        atomic_store(&ram.vcpu_limit, index + 1)
    return cpu


cdef void forget_owner(CPU* cpu) noexcept:
    """What the VMM has set, as it is for a new vCPU: struct kvm_run, features, parameters of the idle policies."""
    memset(cpu.run, 0, PAGE_SIZE)
    cpu.features = 0
    cpu.single_step = cpu.block_interrupts = cpu.timed = cpu.stops_before_wakes = False
    cpu.recorder = NULL
    cpu.own_store_ns = 0
    forget_debug(cpu)
    cpu.halt_poll_ns = HALT_POLL_NS
    cpu.halt_poll_ns_grow = HALT_POLL_NS_GROW
    cpu.halt_poll_ns_grow_start = HALT_POLL_NS_GROW_START
    cpu.halt_poll_ns_shrink = HALT_POLL_NS_SHRINK
    cpu.mwait_timer_ns = MWAIT_TIMER_NS
    cpu.mwait_scan_ns = MWAIT_SCAN_NS


cdef void abandon_wait(CPU* cpu) noexcept nogil:
    """A wait under way is no more."""
    cpu.wait_began = NO_LIMIT
    if not cpu.in_mwait:
        return
    cpu.in_mwait = False
    monitor_disarm(cpu)
    if cpu.wait_policy == MWAIT_SCAN:
        scan_end(cpu)


cdef void initialize(CPU* cpu) noexcept nogil:
    """What RESET and INIT have in common: real mode at the reset vector (SDM vol. 3, table 10-1)."""
    cdef int number
    memset(cpu.gpr, 0, sizeof(cpu.gpr))
    cpu.gpr[EDX] = 0x611
    set_eflags(cpu, FLAGS_ALWAYS)
    cpu.eip = 0xFFF0
    cpu.cr0 = cpu.cr0 & (CR0_CD | CR0_NW) | CR0_ET
    cpu.cr2 = cpu.cr3 = cpu.cr4 = 0
    memset(cpu.dr, 0, sizeof(cpu.dr))
    cpu.dr[6] = DR6_ONES
    cpu.dr[7] = DR7_ONES
    cpu.dr_hits = 0
    update_debug_registers(cpu)
    cpu.gdt_base = cpu.idt_base = 0
    cpu.gdt_limit = 0xFFFF
    cpu.idt_limit = 0xFFFF
    for number in range(SEGMENTS):
        set_segment(cpu, number, 0, 0, 0xFFFF, 0x82 if number >= LDTR else 0x93)
    set_segment(cpu, CS, 0xF000, 0xFFFF0000U, 0xFFFF, 0x93)
    cpu.shadow = cpu.trap_shadow = cpu.trap_at = cpu.replay_at = cpu.resume_at = cpu.repeat_at = -1
    cpu.debug_seen_at = -1
    cpu.watch_hit = 0
    cpu.access_exit = 0
    cpu.completes_access = False
    cpu.nmi_pending = cpu.nmi_blocked = False
    abandon_wait(cpu)
    monitor_disarm(cpu)
    reset_apic(cpu)
    cpu.paging = cpu.checks_alignment = False
    cpu.cpl = 0
    flush_translations(cpu, True)
    update_context(cpu)


cdef void reset_cpu(CPU* cpu) noexcept:
    """RESET: counters and whatever was under way are gone. A kick stays."""
    cdef int number
    cpu.virtual_base += cpu.retired * cpu.ram.instruction_ns    # time goes on
    cpu.retired = 0
    apic_register(cpu, APIC_ID)[0] = (cpu.index & 0xFF) << 24
    cpu.cr0 = CR0_CD | CR0_NW
    cpu.misc_enable = MISC_ENABLE_MONITOR
    cpu.umwait_control = 0
    cpu.tsc_offset = 0
    cpu.apic.base = DEFAULT_APIC_BASE | BASE_ENABLED | (0 if cpu.index else BASE_BOOTSTRAP)
    cpu.mp_state = MP_STATE_UNINITIALIZED if cpu.index else MP_STATE_RUNNABLE
    cpu.last_event = -1
    atomic_and(&cpu.attention, ATTENTION_KICK)      # a kick is never lost
    for number in range(4):
        cpu.interrupts[number] = cpu.apic.eoi[number] = 0
    cpu.poll_window[0] = cpu.poll_window[1] = 0
    memset(&cpu.stats, 0, sizeof(cpu.stats))
    flush_blocks(cpu)
    initialize(cpu)
    update_wake_fd(cpu)


cdef void accept_init(CPU* cpu) noexcept nogil:
    """INIT: the bootstrap processor begins anew, any other waits for a start-up IPI. Between instructions."""
    initialize(cpu)
    atomic_and(&cpu.attention, ~<uint32_t>ATTENTION_NMI)    # seen or not, an NMI from before is gone
    cpu.mp_state = MP_STATE_RUNNABLE if cpu.apic.base & BASE_BOOTSTRAP else MP_STATE_INIT_RECEIVED
    update_wake_fd(cpu)


cdef bint accept_sipi(CPU* cpu) noexcept nogil:
    """A start-up IPI: real mode at the page that its vector names. Only a vCPU that waits for it heeds it: whether so."""
    cdef uint32_t vector = atomic_load(&cpu.sipi_vector)
    if cpu.mp_state != MP_STATE_UNINITIALIZED and cpu.mp_state != MP_STATE_INIT_RECEIVED:
        return False
    set_segment(cpu, CS, vector << 8, vector << 12, 0xFFFF, 0x93)
    cpu.eip = 0
    cpu.mp_state = MP_STATE_RUNNABLE
    update_context(cpu)
    update_wake_fd(cpu)
    return True


cdef bint accept_start(CPU* cpu) noexcept nogil:
    """Take INIT and SIPI, if there are any, INIT first; whether the vCPU does something else now."""
    cdef uint64_t wanted = atomic_and(&cpu.attention, ~<uint32_t>(ATTENTION_INIT | ATTENTION_SIPI))
    if wanted & ATTENTION_INIT:
        accept_init(cpu)
    if wanted & ATTENTION_SIPI and accept_sipi(cpu):
        return True
    return wanted & ATTENTION_INIT != 0


cdef void start_cpu_real_mode(CPU* cpu, uint32_t selector, uint32_t offset) noexcept:
    """At selector:offset, as a boot sector begins."""
    cdef int number
    reset_cpu(cpu)
    for number in range(ES, GS + 1):
        set_segment(cpu, number, 0, 0, 0xFFFF, 0x93)
    set_segment(cpu, CS, selector, selector << 4, 0xFFFF, 0x93)
    cpu.cr0 = CR0_ET
    cpu.idt_limit = 0x3FF
    cpu.eip = offset
    cpu.mp_state = MP_STATE_RUNNABLE
    update_context(cpu)
    update_wake_fd(cpu)


cdef void start_cpu_flat32(CPU* cpu, uint32_t at, uint32_t stack) noexcept:
    """In flat 32-bit protected mode."""
    cdef int number
    reset_cpu(cpu)
    cpu.cr0 = CR0_PE | CR0_ET
    for number in range(ES, GS + 1):
        set_segment(cpu, number, 0x10, 0, 0xFFFFFFFFU, 0xC093)
    set_segment(cpu, CS, 0x08, 0, 0xFFFFFFFFU, 0xC09B)
    cpu.gdt_limit = cpu.idt_limit = 0
    cpu.eip = at
    cpu.gpr[ESP] = stack
    cpu.mp_state = MP_STATE_RUNNABLE
    update_context(cpu)
    update_wake_fd(cpu)
