"""The layout of a saved vCPU, little-endian and without gaps. Whoever changes it raises SAVED_VERSION."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from x86core.state cimport CPU, REPLAY_ENTRIES, SEGMENTS, KvmRun, Statistics

cdef enum:
    SAVED_VERSION = 4

ctypedef packed struct SavedSegment:
    uint32_t base
    uint32_t limit
    uint16_t selector
    uint16_t access

# Fields of the names in CPU hold the same; what follows from others (TLB, blocks, context) is not here.
ctypedef packed struct SavedVCPU:
    char magic[8]
    uint32_t version
    uint32_t size
    uint32_t index
    uint32_t gpr[8]
    uint32_t eip
    uint32_t eflags             # with the arithmetic flags
    SavedSegment segments[SEGMENTS]
    uint32_t cr0
    uint32_t cr2
    uint32_t cr3
    uint32_t cr4
    uint32_t cpl
    uint32_t dr[8]
    uint32_t gdt_base
    uint32_t gdt_limit
    uint32_t idt_base
    uint32_t idt_limit
    uint32_t umwait_control
    uint32_t features
    uint64_t misc_enable
    uint64_t tsc_offset
    int64_t retired
    int64_t virtual_base
    int64_t trap_shadow
    int64_t trap_at
    int64_t resume_at
    int64_t repeat_at
    uint32_t dr_hits
    int64_t shadow
    int32_t mp_state
    int32_t last_event
    uint32_t attention
    uint32_t sipi_vector
    uint32_t waiting
    uint8_t nmi_pending
    uint8_t nmi_blocked
    uint8_t single_step
    uint8_t completes_access
    uint64_t interrupts[4]
    # A wait in HLT or MWAIT.
    uint64_t monitor
    uint64_t line[8]            # `snapshot`
    uint64_t monitored_tables[2]
    uint8_t in_mwait
    uint8_t masked_interrupts_wake
    uint8_t carry_at_limit
    uint8_t wait_adapts
    int32_t wait_policy
    int64_t wait_began
    int64_t wait_until
    int64_t wait_poll
    int64_t poll_window[2]
    int64_t halt_poll_ns
    int64_t halt_poll_ns_grow
    int64_t halt_poll_ns_grow_start
    int64_t halt_poll_ns_shrink
    int64_t mwait_timer_ns
    int64_t mwait_scan_ns
    # The local APIC.
    uint64_t apic_base
    uint32_t apic_registers[64]
    uint64_t irr[4]
    uint64_t isr[4]
    uint64_t tmr[4]
    uint64_t eoi[4]
    uint32_t errors
    int64_t timer_at
    int64_t timer_period
    uint64_t tsc_deadline
    # An exit and its answers.
    int64_t replay_at
    uint32_t replay_count
    uint32_t replay_next
    uint32_t access_exit
    uint64_t replay[REPLAY_ENTRIES]
    uint64_t port_data
    KvmRun run
    Statistics stats
    uint64_t host_triggers      # of the whole memory

cdef void save_vcpu(CPU* cpu, SavedVCPU* saved) noexcept
cdef void restore_vcpu(CPU* cpu, const SavedVCPU* saved) noexcept
