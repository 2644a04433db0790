"""The numbers that everything shares: sizes, register numbers, architectural bits, and our own states."""

cdef enum:
    PAGE_SIZE = 4096
    LINE_SIZE = 64              # what MONITOR watches, in bytes
    TLB_ENTRIES = 512
    TLB_WORDS = 8               # of 64 bits, with a bit for each entry of the TLB
    LARGE_WORDS = 16            # the same for each 4 MiB of the linear address space
    CROSSING_LINKS = 1024       # between blocks of different pages
    JUMP_ENTRIES = 4096
    BLOCK_HASH_ENTRIES = 16384
    BLOCK_INSTRUCTIONS = 32     # at most, in one block
    CONTEXTS = 256
    MAX_VCPUS = 1024            # an xAPIC can address the first 255 one by one
    REPLAY_ENTRIES = 128        # device accesses of one instruction
    RECORDS = 32768             # that a vCPU keeps until somebody takes them
    NOTES = 16                  # of who has asked for a vCPU lately
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
    FLAGS_SETTABLE = 0x277FD5   # all but reserved ones, VIF and VIP
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
    CR4_TSD = 0x004
    CR4_DE = 0x008
    CR4_PSE = 0x010
    CR4_PGE = 0x080

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
    EXCEPTION_AC = 17
    DEVICE_ACCESS = 0x100       # the instruction waits for a port or memory-mapped access
    NO_MEMORY = 0x101           # instructions were to be fetched where there is no RAM
    WATCHED = 0x102             # the instruction meets a watchpoint and is to be executed alone
    MAY_WAKE = 0x103            # it may wake another vCPU, and run() is left before it; error_code is the exit reason
    NO_EXCEPTION = 0x1FF

# KVM's exit reasons (exits.py has them for Python; a test holds the two together).
cdef enum:
    EXIT_NONE = -1              # go on in the guest
    EXIT_SIGNAL = -2            # let Python look for signals, then go on
    EXIT_AGAIN = -3             # enter again: INIT or SIPI has changed what the vCPU does
    EXIT_IO = 2
    EXIT_DEBUG = 4
    EXIT_HLT = 5
    EXIT_MMIO = 6
    EXIT_IRQ_WINDOW_OPEN = 7
    EXIT_SHUTDOWN = 8
    EXIT_FAIL_ENTRY = 9
    EXIT_INTR = 10
    EXIT_INTERNAL_ERROR = 17
    EXIT_IOAPIC_EOI = 26
    EXIT_MWAIT = 38
    EXIT_LIMIT = 0x100
    EXIT_IDLE = 0x101
    EXIT_STORE = 0x102
    EXIT_IPI = 0x103

cdef enum:
    USERSPACE_EXIT_MWAIT = 1
    USERSPACE_EXIT_HLT = 2

# Bits of kvm_run.disable_exits, numbered as those of KVM_CAP_X86_DISABLE_EXITS.
cdef enum:
    DISABLE_EXITS_MWAIT = 1
    DISABLE_EXITS_HLT = 2

# Values of kvm_run.mwait_policy, and behind them what its neighbours make of MWAIT.
cdef enum MwaitPolicy:
    MWAIT_NOP = 0
    MWAIT_YIELD = 1
    MWAIT_FAULT = 2
    MWAIT_HALT = 3
    MWAIT_TIMER = 4
    MWAIT_SCAN = 5
    MWAIT_ADAPTIVE = 6
    MWAIT_POLICIES = 7          # how many there are
    MWAIT_PASSTHROUGH = 0x100
    MWAIT_EXIT = 0x101

# Values of kvm_run.hlt_policy.
cdef enum:
    HLT_BLOCK = 0
    HLT_POLL = 1
    HLT_POLICIES = 2

# Bits of CPU.features: what CPUID offers only when the machine asks for it.
cdef enum:
    FEATURE_MONITORX = 1
    FEATURE_WAITPKG = 2

cdef enum:
    MP_STATE_RUNNABLE = 0
    MP_STATE_UNINITIALIZED = 1
    MP_STATE_INIT_RECEIVED = 2
    MP_STATE_HALTED = 3

# Bits of CPU.attention: what another thread wants of this vCPU.
cdef enum:
    ATTENTION_KICK = 1          # leave run()
    ATTENTION_INTERRUPT = 2     # CPU.interrupts has something
    ATTENTION_NMI = 4
    ATTENTION_SHOOTDOWN = 8     # drop write tags of watched pages
    ATTENTION_CODE = 16         # code of some page was modified
    ATTENTION_INIT = 32
    ATTENTION_SIPI = 64         # CPU.sipi_vector says where to
    ATTENTION_RUN = 128         # somebody has written to struct kvm_run
    ATTENTION_DEBUG = 256       # CPU.debug_next has breakpoints and watchpoints

# Bits of Page.attributes. Any of them takes away every write tag.
cdef enum:
    PAGE_CODE = 1               # instructions were decoded from it
    PAGE_PROTECTED = 2          # monitored (design: write-fault wake)
    PAGE_ACKNOWLEDGED = 4       # and every vCPU has dropped its write tag since
    PAGE_HELD = 8               # run() is left before a store there, if stops_before_wakes
    PAGE_ROM = 16               # read-only: a guest's stores change nothing

# Bits of Watchpoint.kind: what it is for.
cdef enum:
    WATCH_READ = 1
    WATCH_WRITE = 2

# Why run() was left with EXIT_DEBUG.
cdef enum DebugCause:
    DEBUG_NONE
    DEBUG_STEP
    DEBUG_BREAKPOINT
    DEBUG_READ
    DEBUG_WRITE

# Whether the instruction under way is a block of its own, behind which a watchpoint is reported at once.
cdef enum AloneState:
    NOT_ALONE
    WANTS_ALONE
    ALONE

# What kind of store a watched page sees.
cdef enum StoreKind:
    STORE_PLAIN
    STORE_LOCKED
    STORE_STRING
    STORE_WALK                  # the processor's own: accessed and dirty bits

# The low bits of a monitor word; the rest is the physical address of the line.
cdef enum:
    MONITOR_IDLE = 0
    MONITOR_ARMED = 1
    MONITOR_WAITING = 2
    MONITOR_TRIGGERED = 3
    MONITOR_STATE = 3
    MONITOR_SCANNED = 4         # its contents are compared; stores do not trigger it

cdef enum WaitKind:
    WAIT_NONE = 0
    WAIT_HLT = 1
    WAIT_MWAIT = 2
    WAIT_START = 3

# What a record is about (recording.pyx): a wait, by its WaitKind, or one of these.
cdef enum:
    RECORD_ENTRY = 4            # run() was called
    RECORD_EXIT = 5             # and has left the guest

# What ends a wait.
cdef enum WakeReason:
    WAKE_STORE = 1
    WAKE_INTERRUPT = 2
    WAKE_NMI = 3
    WAKE_START = 4              # INIT or SIPI
    WAKE_KICK = 5
    WAKE_REQUEST = 6            # written to kvm_run: immediate_exit, request_interrupt_window
    WAKE_LIMIT = 7              # its time limit, or that of the policy, was over

# Who did so, where it was no vCPU.
cdef enum:
    AGENT_HOST = -1             # the VMM, or a device
    AGENT_TIMER = -2            # the vCPU's own APIC timer
    AGENT_UNKNOWN = -3

cdef enum:
    OUTSIDE_GUEST = 0           # holds no translation that a shootdown must reach
    IN_GUEST = 1
