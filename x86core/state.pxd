"""The layouts that everything shares: processor, decoded instruction, block, TLB entry, guest RAM.

This is the one place where they stand. Handlers reach registers by their byte offset in CPU, so
the general registers come first.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    PAGE_SIZE = 4096
    LINE_SIZE = 64              # what MONITOR watches, in bytes
    TLB_ENTRIES = 512
    JUMP_ENTRIES = 4096
    BLOCK_HASH_ENTRIES = 16384
    BLOCK_INSTRUCTIONS = 32     # at most, in one block
    CONTEXTS = 256
    MAX_VCPUS = 255             # xAPIC IDs, broadcast left out
    REPLAY_ENTRIES = 128        # device accesses of one instruction
    PORT_DATA_OFFSET = PAGE_SIZE    # in struct kvm_run, of the data of a port access

# SegmentCache registers by their number in instructions, then the system segments.
cdef enum:
    ES = 0
    CS = 1
    SS = 2
    DS = 3
    FS = 4
    GS = 5
    LDTR = 6
    TR = 7
    SEGMENTS = 8

# General registers by their number in instructions.
cdef enum:
    EAX = 0
    ECX = 1
    EDX = 2
    EBX = 3
    ESP = 4
    EBP = 5
    ESI = 6
    EDI = 7

cdef enum:
    FLAG_CF = 0x0001
    FLAG_PF = 0x0004
    FLAG_AF = 0x0010
    FLAG_ZF = 0x0040
    FLAG_SF = 0x0080
    FLAG_TF = 0x0100
    FLAG_IF = 0x0200
    FLAG_DF = 0x0400
    FLAG_OF = 0x0800
    FLAG_IOPL = 0x3000
    FLAG_NT = 0x4000
    FLAG_RF = 0x10000
    FLAG_VM = 0x20000
    FLAG_AC = 0x40000
    FLAG_ID = 0x200000
    FLAGS_ARITHMETIC = 0x08D5
    FLAGS_ALWAYS = 0x0002

cdef enum:
    CR0_PE = 0x00000001
    CR0_MP = 0x00000002
    CR0_EM = 0x00000004
    CR0_TS = 0x00000008
    CR0_ET = 0x00000010
    CR0_NE = 0x00000020
    CR0_WP = 0x00010000
    CR0_AM = 0x00040000
    CR0_NW = 0x20000000
    CR0_CD = 0x40000000
    CR0_PG = 0x80000000

# Exception vectors (SDM vol. 3, 6.3.1), and two that never reach the guest.
cdef enum:
    EXCEPTION_DE = 0
    EXCEPTION_DB = 1
    EXCEPTION_NMI = 2
    EXCEPTION_BP = 3
    EXCEPTION_OF = 4
    EXCEPTION_BR = 5
    EXCEPTION_UD = 6
    EXCEPTION_NM = 7
    EXCEPTION_DF = 8
    EXCEPTION_TS = 10
    EXCEPTION_NP = 11
    EXCEPTION_SS = 12
    EXCEPTION_GP = 13
    EXCEPTION_PF = 14
    DEVICE_ACCESS = 0x100       # the instruction waits for a port or memory-mapped access
    NO_MEMORY = 0x101           # instructions were to be fetched where there is no RAM
    NO_EXCEPTION = 0x1FF

# KVM's exit reasons (exits.py has them for Python; a test holds the two together).
cdef enum:
    EXIT_NONE = -1              # go on in the guest
    EXIT_SIGNAL = -2            # let Python look for signals, then go on
    EXIT_IO = 2
    EXIT_DEBUG = 4
    EXIT_HLT = 5
    EXIT_MMIO = 6
    EXIT_IRQ_WINDOW_OPEN = 7
    EXIT_SHUTDOWN = 8
    EXIT_INTR = 10
    EXIT_INTERNAL_ERROR = 17
    EXIT_MWAIT = 38
    EXIT_LIMIT = 0x100

cdef enum:
    USERSPACE_EXIT_MWAIT = 1
    USERSPACE_EXIT_HLT = 2

cdef enum MwaitPolicy:
    MWAIT_NOP = 0
    MWAIT_YIELD = 1
    MWAIT_FAULT = 2

cdef enum:
    MP_STATE_RUNNABLE = 0
    MP_STATE_UNINITIALIZED = 1
    MP_STATE_HALTED = 3

# Bits of CPU.attention: what another thread wants of this vCPU.
cdef enum:
    ATTENTION_KICK = 1          # leave run()
    ATTENTION_INTERRUPT = 2     # CPU.interrupts has something
    ATTENTION_NMI = 4
    ATTENTION_SHOOTDOWN = 8     # drop write tags of watched pages
    ATTENTION_CODE = 16         # code of some page was modified

# Bits of Page.attributes. Any of them takes away every write tag.
cdef enum:
    PAGE_CODE = 1               # instructions were decoded from it
    PAGE_PROTECTED = 2          # monitored (design: write-fault wake)
    PAGE_ACKNOWLEDGED = 4       # and every vCPU has dropped its write tag since

# The low bits of a monitor word; the rest is the physical address of the line.
cdef enum:
    MONITOR_IDLE = 0
    MONITOR_ARMED = 1
    MONITOR_WAITING = 2
    MONITOR_TRIGGERED = 3
    MONITOR_STATE = 3

cdef enum WaitKind:
    WAIT_NONE = 0
    WAIT_HLT = 1
    WAIT_MWAIT = 2
    WAIT_START = 3

cdef enum:
    OUTSIDE_GUEST = 0           # holds no translation that a shootdown must reach
    IN_GUEST = 1

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

cdef union KvmRunUnion:
    KvmRunIO io
    KvmRunMMIO mmio
    KvmRunInternal internal
    uint8_t padding[256]

ctypedef struct KvmRun:
    uint8_t request_interrupt_window
    uint8_t immediate_exit
    uint8_t userspace_exits     # the RFC's
    uint8_t mwait_policy        # ours, in the RFC's padding
    uint8_t padding1[4]
    uint32_t exit_reason
    uint8_t ready_for_interrupt_injection
    uint8_t if_flag
    uint16_t flags
    uint64_t cr8
    uint64_t apic_base
    KvmRunUnion exit

ctypedef struct Statistics:
    uint64_t exits
    uint64_t io_exits
    uint64_t mmio_exits
    uint64_t halt_exits
    uint64_t halt_wakeup
    uint64_t irq_injections
    uint64_t nmi_injections
    uint64_t mwait_instructions
    uint64_t mwait_exits
    uint64_t mwait_waits
    uint64_t monitor_arms
    uint64_t monitor_unacknowledged
    uint64_t monitor_triggers_vcpu
    uint64_t monitor_triggers_host
    uint64_t wakes_store
    uint64_t wakes_interrupt
    uint64_t wakes_kick
    uint64_t write_faults
    uint64_t false_faults
    uint64_t page_protections
    uint64_t page_releases
    uint64_t tlb_misses
    uint64_t blocks_decoded
    uint64_t blocks_dropped

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
    uint32_t page_count
    Page* pages
    uint64_t* code_bytes        # a word per line, a bit per byte that was decoded
    uint64_t shootdown          # number of the latest one
    uint64_t epoch              # CLOCK_MONOTONIC nanoseconds at guest time 0
    uint64_t host_triggers      # monitors triggered by stores of the host
    uint32_t vcpu_limit         # highest index in use, plus 1
    CPU* vcpus[MAX_VCPUS]
    uint64_t monitors[MAX_VCPUS]    # line | MONITOR_*; one word, so that each change is one exchange

ctypedef struct CPU:
    # Hot: reached by byte offset, or at every block.
    uint32_t gpr[8]
    uint32_t zero               # stands for an absent base or index
    uint32_t stack_mask         # FFFFh or FFFFFFFFh by SS.B
    int64_t retired             # instructions since RESET; within a block, those of all of it
    int64_t stop_at             # retired may not pass it; any thread lowers it to 0
    uint64_t context_key        # context << 32
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
    uint32_t dr[8]
    uint64_t misc_enable        # IA32_MISC_ENABLE
    uint64_t tsc_offset         # added to guest time by a write to the TSC
    uint32_t gdt_base, gdt_limit, idt_base, idt_limit
    uint32_t mode
    int64_t limit_at            # where stop_at goes back to
    int64_t chunks              # of repeated string instructions, since run() last looked for signals
    int64_t chunks_at           # when it should look again
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
    uint32_t notify             # the VMM may watch wake_fd
    uint32_t notified           # wake_fd is readable
    bint in_run
    bint owned                  # by a VCPU object
    bint masked_interrupts_wake     # ECX[0] of the MWAIT under way
    bint completes_access       # the instruction of an EXIT_IO or EXIT_MMIO is to be finished
    bint nmi_pending
    bint nmi_blocked            # until IRET
    bint waits_for_store        # the wait of an MWAIT is to be resumed
    bint single_step            # leave after each instruction and each event delivered
    int last_event              # vector of the exception or interrupt delivered last; -1: none
    int64_t park_nanoseconds    # longest sleep; negative: no limit
    uint64_t acknowledged       # latest shootdown that this vCPU has answered
    uint64_t interrupts[4]      # pending vectors
    int wake_fd

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

    KvmRun* run
    Statistics stats
    size_t stack_top            # frame of run(), to see that handlers really tail-call
    size_t stack_depth          # deepest seen, bytes

    # Decoded code (blocks.pyx).
    Context contexts[CONTEXTS]
    uint32_t context_count
    uint8_t* arena
    size_t arena_used
    uint64_t flushes
    uint32_t* code_page_of      # index into code_pages, by physical page; 0 = none
    CodePage* code_pages
    uint32_t code_page_count
    Block* block_hash[BLOCK_HASH_ENTRIES]
    Block* scratch              # for partial blocks
