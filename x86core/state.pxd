"""The layouts that everything shares: processor, decoded instruction, block, TLB entry, guest RAM.

This is the one place where they stand; the numbers come from constants.pxd and can be had from here.
Handlers reach registers by their byte offset in CPU, so the general registers come first.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from x86core.constants cimport *

ctypedef struct CPU
ctypedef struct Insn

# Every instruction is a function of this shape that ends in a call of the next one.
# result, carries, carry are the lazy arithmetic flags (flags.pxd).
ctypedef int (*Handler)(CPU*, Insn*, int64_t, uint32_t, uint32_t) noexcept nogil

ctypedef struct Insn:           # 32 bytes
    Handler handler
    uint32_t eip
    uint32_t immediate          # or the target of a direct branch
    int32_t displacement        # or the selector of a far pointer
    uint16_t instance           # number of the handler, by which its careful form is found
    uint8_t remaining           # instructions of the block not yet retired, this one included
    uint8_t length              # bytes
    uint8_t reg                 # byte offset in CPU of the register operand, or a plain number
    uint8_t rm                  # byte offset in CPU of the first register operand
    uint8_t base                # byte offsets in CPU; an absent one is CPU.zero
    uint8_t index
    uint8_t scale
    uint8_t segment
    int8_t address_mask         # 0: 16-bit addresses, -1: 32-bit (sign-extended above bit 15)
    uint8_t repeat              # 0, or the REP prefix byte

ctypedef struct Block:
    int64_t count               # instructions; DEAD_COUNT once dropped, so that no link enters it
    uint32_t eip
    uint32_t context
    uint32_t physical
    Block* next_hash
    Block* next_in_page[2]      # a block may straddle two pages
    uint32_t page[2]            # physical page numbers; equal when it does not
    uint32_t padding[3]         # so that the instructions begin a cache line
    Insn insns[1]               # count of them, a terminator where none of them is one, then a Link

# Stands in the place of an Insn behind the last one of a block.
ctypedef struct Link:
    Block* taken
    Block* fallthrough

ctypedef struct TLBEntry:
    uint32_t read_tag           # linear page address
    uint32_t write_tag          # the same, or one that never matches
    uint8_t* addend             # host address - linear address

ctypedef struct JumpEntry:
    uint64_t key                # context << 32 | eip
    Block* block

ctypedef struct SegmentCache:
    uint32_t base
    uint32_t limit              # bytes, last valid offset
    int64_t read_limit          # as limit for a plain access; -1 where each must be looked at
    int64_t write_limit
    uint16_t selector
    uint16_t access             # access byte in bits 0-7, AVL L D/B G in bits 12-15
    uint32_t padding

# What decoded code depends on besides its bytes.
ctypedef struct Context:
    uint32_t cs_base
    uint32_t cs_limit
    uint32_t mode               # MODE_* and the mask of flat segments

cdef enum:
    MODE_FLAT = 0x3F            # a bit per segment register
    MODE_CODE32 = 0x40
    MODE_STACK32 = 0x80
    MODE_PROTECTED = 0x100
    MODE_VIRTUAL8086 = 0x200
    MODE_PAGED = 0x400
    MODE_CPL_SHIFT = 11
    MODE_CPL = 3 << 11

ctypedef struct CodePage:       # the blocks that one vCPU has from one physical page
    Block* first
    uint32_t page
    uint32_t version            # Page.code_version when they were decoded

# struct kvm_run as far as it is used here (linux/kvm.h); kvm_run.py has it as a numpy dtype.
ctypedef struct KvmRunIO:
    uint8_t direction
    uint8_t size
    uint16_t port
    uint32_t count
    uint64_t data_offset

ctypedef struct KvmRunMMIO:
    uint64_t phys_addr
    uint8_t data[8]
    uint32_t len
    uint8_t is_write

ctypedef struct KvmRunInternal:
    uint32_t suberror
    uint32_t ndata
    uint64_t data[16]

ctypedef struct KvmRunDebug:    # struct kvm_debug_exit_arch
    uint32_t exception
    uint32_t padding
    uint64_t pc
    uint64_t dr6
    uint64_t dr7

ctypedef struct KvmRunEOI:
    uint8_t vector

cdef union KvmRunUnion:
    KvmRunIO io
    KvmRunDebug debug
    KvmRunMMIO mmio
    KvmRunInternal internal
    KvmRunEOI eoi
    uint8_t padding[256]

ctypedef struct KvmRun:
    uint8_t request_interrupt_window
    uint8_t immediate_exit
    uint8_t userspace_exits     # the RFC's
    uint8_t disable_exits       # ours, in the RFC's padding, as the two below
    uint8_t mwait_policy
    uint8_t hlt_policy
    uint8_t padding1[2]
    uint32_t exit_reason
    uint8_t ready_for_interrupt_injection
    uint8_t if_flag
    uint16_t flags
    uint64_t cr8
    uint64_t apic_base
    KvmRunUnion exit

# Counters, under KVM's names where it has them (Linux, kvm_vcpu_stat); the others are ours.
ctypedef struct Statistics:
    uint64_t exits
    uint64_t io_exits
    uint64_t mmio_exits
    uint64_t irq_window_exits
    uint64_t irq_injections
    uint64_t nmi_injections
    uint64_t halt_exits             # HLT instructions
    uint64_t halt_wakeup
    uint64_t halt_attempted_poll
    uint64_t halt_successful_poll
    uint64_t halt_poll_invalid      # ended by nothing that the guest waits for
    uint64_t halt_poll_success_ns
    uint64_t halt_poll_fail_ns
    uint64_t halt_wait_ns           # asleep, polling left out
    uint64_t halt_passthrough_ns    # spun without end
    uint64_t mwait_instructions
    uint64_t mwait_exits
    uint64_t mwait_waits
    uint64_t mwait_fallthroughs     # the monitor was idle or triggered: a NOP
    uint64_t mwait_attempted_poll
    uint64_t mwait_successful_poll
    uint64_t mwait_poll_invalid
    uint64_t mwait_poll_success_ns
    uint64_t mwait_poll_fail_ns
    uint64_t mwait_wait_ns
    uint64_t mwait_passthrough_ns
    uint64_t start_wait_ns          # for INIT or SIPI
    uint64_t run_ns                 # in run(), waits included; only while VCPU.timed
    uint64_t wakes_store
    uint64_t wakes_interrupt
    uint64_t wakes_kick
    uint64_t wakes_spurious         # by none of these: a time limit was over
    uint64_t monitor_arms
    uint64_t monitor_unacknowledged     # MONITOR while some vCPU could still store unseen
    uint64_t monitor_triggers_vcpu  # by this vCPU's stores, of any kind
    uint64_t monitor_triggers_locked
    uint64_t monitor_triggers_string
    uint64_t monitor_triggers_walk
    uint64_t monitor_triggers_host
    uint64_t monitor_scans          # VM entries that compared monitored lines
    uint64_t monitor_scanned_lines
    uint64_t write_faults
    uint64_t false_faults
    uint64_t page_protections
    uint64_t page_releases
    uint64_t tlb_misses
    uint64_t blocks_decoded
    uint64_t blocks_dropped

# Who has asked for a vCPU, and when; `what` is 0 while the note is being written.
ctypedef struct Note:
    uint64_t at                 # guest time
    uint64_t what               # WakeReason << 32 | vector << 16 | agent + NOTE_AGENT

# What a vCPU did; observed.py has it as a numpy dtype.
ctypedef struct Record:
    int64_t begin               # guest time; of an entry or exit begin and end are the same
    int64_t end
    int64_t asked_at            # when what ended the wait was asked for; -1: unknown
    int64_t polled              # nanoseconds that it spun, of a wait
    uint32_t lost               # records that found no room just before this one
    int32_t agent               # number of the vCPU that asked, or AGENT_*
    uint16_t kind               # WaitKind or RECORD_*
    uint16_t policy             # of a wait: HLT_*, or MwaitPolicy
    uint16_t cause              # of a wait: WakeReason
    uint16_t detail             # of a wait: vector of the interrupt; of an exit: its reason

# One writer, the vCPU's thread; one reader at a time, under the GIL. Notes come from all threads.
ctypedef struct Recorder:
    uint64_t written            # records so far; the reader reads it
    uint64_t taken              # of these; the writer reads it
    uint64_t lost
    uint32_t dropped            # lost since the last one written
    uint64_t noted
    Note notes[NOTES]
    Record records[RECORDS]

ctypedef struct APIC:
    uint64_t base               # IA32_APIC_BASE
    uint32_t registers[64]      # by offset / 16; those that are more than a number stand below
    uint64_t irr[4]             # any thread sets bits
    uint64_t isr[4]
    uint64_t tmr[4]             # as those of irr
    uint64_t eoi[4]             # levels that were ended, of which the VMM is to be told
    uint32_t errors             # since ESR was last written
    int64_t timer_at            # guest time at which the timer is due; NO_LIMIT: never
    int64_t timer_period        # nanoseconds; 0 in one-shot mode
    uint64_t tsc_deadline       # IA32_TSC_DEADLINE

ctypedef struct Page:           # what is known of 4 KiB of guest RAM
    uint32_t attributes
    uint32_t lock               # serialises arming, releasing and marking; no fast path takes it
    uint64_t monitored_lines    # bit n: a monitor was armed on line n since protection began
    uint64_t protected_at       # the shootdown that answers for the protection
    uint32_t false_faults       # since a monitor was last armed here
    uint64_t code_at            # the shootdown that answers for PAGE_CODE
    uint32_t code_version       # raised when decoded bytes are stored to

ctypedef struct RAM:
    uint8_t* bytes
    uint64_t size
    uint64_t rom_size           # bytes of ROM that end at 1 MiB; 0: none
    uint64_t rom_mirror         # where it begins once more, to end at 4 GiB
    uint32_t page_count
    Page* pages
    uint64_t* code_bytes        # a word per line, a bit per byte that was decoded
    uint64_t shootdown          # number of the latest one
    uint64_t epoch              # CLOCK_MONOTONIC nanoseconds at guest time 0
    bint virtual_time           # guest time is that of instructions, not of the host
    int64_t instruction_ns      # what one takes then
    uint64_t host_triggers      # monitors triggered by stores of the host
    uint32_t scanned            # vCPUs that sleep until a VM entry finds their line changed
    uint32_t vcpu_limit         # highest index in use, plus 1
    CPU* vcpus[MAX_VCPUS]
    uint64_t monitors[MAX_VCPUS]    # line | MONITOR_*; one word, so that each change is one exchange

ctypedef struct Watchpoint:
    uint32_t first              # linear addresses
    uint32_t last
    uint32_t kind               # WATCH_*

ctypedef struct GuestDebug:     # one piece of memory
    uint32_t breakpoint_count
    uint32_t watchpoint_count
    uint32_t* breakpoints       # linear addresses, ascending
    Watchpoint* watchpoints
    uint64_t dr7                # what DR7 would say of the first four

ctypedef struct CPU:
    # Hot: reached by byte offset, or at every block.
    uint32_t gpr[8]
    uint32_t zero               # stands for an absent base or index
    uint32_t stack_mask         # FFFFh or FFFFFFFFh by SS.B
    int64_t retired             # instructions since RESET; within a block, those of all of it
    int64_t stop_at             # retired may not pass it; any thread lowers it to 0
    uint64_t context_key        # (generation << 8 | context) << 32
    uint32_t eip                # valid between blocks and outside the guest
    uint32_t eflags             # all but the arithmetic flags
    # Arithmetic flags while no handler holds them.
    int64_t result
    uint32_t carries
    uint32_t carry
    # A fault under way.
    uint32_t exception
    uint32_t error_code
    SegmentCache segments[SEGMENTS]
    RAM* ram
    TLBEntry tlb[TLB_ENTRIES]
    JumpEntry jump_cache[JUMP_ENTRIES]

    # Control state.
    uint32_t cr0, cr2, cr3, cr4
    uint32_t cpl                # current privilege level
    bint paging                 # CR0.PG
    bint checks_alignment       # #AC is on: the TLB holds nothing, so that each access is looked at
    bint system_access          # to a descriptor table or a TSS: at privilege level 0, whatever cpl is
    uint32_t fault_address      # of the page fault in `exception`; CR2 once it is delivered
    uint64_t tlb_filled[TLB_WORDS]      # bit n: entry n may match something
    uint64_t tlb_global[TLB_WORDS]      # and is of a global page
    uint64_t tlb_supervisor[TLB_WORDS]  # and is of use to privilege levels 0 to 2 alone
    uint64_t large_pages[LARGE_WORDS]   # bit n: the TLB may have parts of a 4 MiB page at linear n << 22
    uint32_t dr[8]
    uint32_t dr_execution       # bit n: DRn is an enabled breakpoint, by DR7 and CR4.DE
    uint32_t dr_data
    uint32_t dr_ports
    uint32_t dr_hits            # bits of DR6 for a trap behind the instruction
    uint64_t misc_enable        # IA32_MISC_ENABLE
    uint32_t umwait_control     # IA32_UMWAIT_CONTROL
    uint32_t features           # FEATURE_*
    int64_t virtual_base        # guest time at RESET, if every instruction since then had taken its time
    uint64_t tsc_offset         # added to guest time by a write to the TSC
    uint32_t gdt_base, gdt_limit, idt_base, idt_limit
    uint32_t mode
    int64_t limit_at            # where stop_at goes back to
    int64_t chunks              # of repeated string instructions, since run() last looked for signals
    int64_t chunks_at           # when it should look again
    int64_t resume_at           # boundary at which EFLAGS.RF was set: it holds for one instruction
    int64_t repeat_at           # boundary at which a repeated string instruction stands, not finished
    int64_t trap_shadow         # boundary at which single steps are held off
    int64_t trap_at             # boundary at which a single step ends; -1: none
    int64_t shadow              # boundary (value of retired) at which interrupts are held off
    uint32_t index
    int mp_state

    # Set by other threads, with atomic operations only.
    uint32_t attention
    uint32_t parked             # futex word: 1 while asleep
    uint32_t location           # OUTSIDE_GUEST or IN_GUEST
    uint32_t waiting            # WaitKind, for watchers
    uint32_t sipi_vector
    uint32_t wake_lock          # held to change whether wake_fd is readable
    bint notify                 # the VMM watches wake_fd
    bint notified               # wake_fd is readable
    bint in_run
    bint owned                  # by a VCPU object
    bint completes_access       # the instruction of an EXIT_IO or EXIT_MMIO is to be finished
    bint nmi_pending
    bint nmi_blocked            # until IRET
    # A wait in HLT or MWAIT. Run() may be left for signals and entered again meanwhile.
    bint in_mwait
    bint masked_interrupts_wake     # ECX[0] of the MWAIT under way
    bint carry_at_limit         # UMWAIT and TPAUSE: the limit is the operating system's
    int wait_policy             # MwaitPolicy of the MWAIT under way
    int64_t wait_began          # guest time; NO_LIMIT: no wait is under way
    int64_t wait_until          # guest time; NO_LIMIT: for ever
    bint wait_adapts            # its length is to adjust the window
    int64_t wait_poll           # spin so many nanoseconds before sleeping; NO_LIMIT: never sleep
    int64_t poll_window[2]      # what halt_poll_ns has grown to, for HLT and for MWAIT
    uint64_t snapshot[8]        # of the monitored line, under policy scan
    uint64_t monitored_tables[2]    # lines of the entries that translate its address | TABLE_LINE; 0: none
    # Their bounds, from any thread (KVM's module parameters of the same names), in nanoseconds.
    int64_t halt_poll_ns
    int64_t halt_poll_ns_grow   # a factor, as shrink is a divisor
    int64_t halt_poll_ns_grow_start
    int64_t halt_poll_ns_shrink
    int64_t mwait_timer_ns
    int64_t mwait_scan_ns
    bint single_step            # leave after each instruction and each event delivered
    bint stops_before_wakes     # leave before an instruction that may wake another vCPU
    int64_t entered_retired     # value of retired when run() was entered
    int64_t own_store_ns        # then: what a store to its own monitored line takes, of guest time
    uint64_t watched_line       # that of its latest MONITOR
    int64_t delivered_at        # value of retired at the last event
    int64_t deliveries          # events since then, the first left out: they count as instructions
    int last_event              # vector of the exception or interrupt delivered last; -1: none
    int64_t park_nanoseconds    # longest sleep; negative: no limit
    uint64_t acknowledged       # latest shootdown that this vCPU has answered
    uint64_t interrupts[4]      # pending vectors
    int64_t soft_stop_at        # a stop_at that is only a look at the clock; -1: none
    APIC apic
    # An epoll instance around an eventfd and a timerfd; -1 until somebody asks for it.
    int wake_fd
    int wake_event
    int wake_timer
    int64_t wake_timer_at       # guest time that the timerfd is set to; NO_LIMIT: none

    # Device accesses.
    int64_t replay_at           # retired index of the instruction they belong to
    uint32_t replay_count
    uint32_t replay_next
    uint32_t access_exit        # EXIT_IO or EXIT_MMIO while one waits for its answer
    uint64_t replay[REPLAY_ENTRIES]
    uint64_t* port_data         # kvm_run.io.data_offset points here
    int64_t position            # retired index of the instruction in a careful access
    bint delivering             # an event is being delivered; devices stay silent

    # A store in two steps: locate, then finish.
    uint64_t store_physical
    bint store_watched
    StoreKind store_kind        # of the instruction under way

    # Guest debugging (guest_debug.pyx).
    GuestDebug* debug           # NULL: nothing is set
    bint watching               # there is that, or an enabled breakpoint of DR0 to DR3 for execution or data
    bint points_changed         # of DR0 to DR3, since blocks were decoded and the TLB filled
    GuestDebug* debug_next      # left by any thread; NULL: nothing new
    AloneState alone
    uint32_t watch_hit          # WATCH_* of what the instruction has met; 0: nothing
    uint32_t watch_address
    DebugCause debug_cause      # of the last EXIT_DEBUG
    uint32_t debug_address
    int64_t debug_seen_at       # value of retired at the last EXIT_DEBUG; -1: none since RESET
    uint32_t debug_seen         # linear address of the next instruction then
    bint block_interrupts       # while single_step is on

    KvmRun* run
    Statistics stats
    Recorder* recorder          # NULL: nobody wants records
    Recorder* recorder_memory   # where they go when somebody does
    bint timed                  # run_ns counts
    int64_t entered_at          # guest time of the latest entry and exit, if timed or recorded
    int64_t left_at
    size_t stack_top            # frame of run(), to see that handlers really tail-call
    size_t stack_depth          # deepest seen, bytes

    # Decoded code (blocks.pyx).
    Context contexts[CONTEXTS]
    uint32_t context_count
    uint8_t* arena
    size_t arena_used
    uint64_t flushes
    uint32_t generation         # of translations; part of context_key, so that the jump cache forgets old ones
    Link* crossing_links[CROSSING_LINKS]    # to be taken back when a translation changes
    uint32_t crossing_count
    uint32_t* code_page_of      # index into code_pages, by physical page; 0 = none
    CodePage* code_pages
    uint32_t code_page_count
    Block* block_hash[BLOCK_HASH_ENTRIES]
    Block* scratch              # for partial blocks
