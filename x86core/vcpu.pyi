from x86core.memory import Memory
import numpy as np

class Segment:
    """A segment register with its hidden part; fields are ints, readable and writable."""
    selector: int
    base: int
    limit: int      # in bytes, after granularity
    access: int     # descriptor bits 8-15 and 20-23 as bits 0-7 and 12-15 (access byte, AVL L D/B G)

class VCPU:
    """One virtual processor. After construction its state is that after RESET (SDM vol. 3, 10.1).

    `index` is its number and local APIC ID. Index 0 is RUNNABLE, others UNINITIALIZED until a start_*.
    Raises ValueError when the index is taken or out of range 0..254.
    Registers may be read and written from any thread while the vCPU is out of `run`.
    """
    def __init__(self, memory: Memory, index: int = 0) -> None: ...
    memory: Memory
    index: int
    eax: int; ecx: int; edx: int; ebx: int; esp: int; ebp: int; esi: int; edi: int
    eip: int; eflags: int
    cr0: int; cr2: int; cr3: int; cr4: int
    gdt_base: int; gdt_limit: int; idt_base: int; idt_limit: int
    @property
    def es(self) -> Segment: ...
    @property
    def cs(self) -> Segment: ...
    @property
    def ss(self) -> Segment: ...
    @property
    def ds(self) -> Segment: ...
    @property
    def fs(self) -> Segment: ...
    @property
    def gs(self) -> Segment: ...

    def start_real_mode(self, cs: int = 0, ip: int = 0x7C00) -> None:
        """RUNNABLE in real mode at cs:ip, other segments 0, esp 0 ..., as a boot sector begins."""
    def start_flat32(self, eip: int = 0x100000, esp: int = 0x9000) -> None:
        """RUNNABLE in 32-bit protected mode, all segments base 0 and limit 4 GiB, interrupts off."""

    def run(self, max_instructions: int = 0) -> int:
        """Enter the guest; return the exit reason (EXIT_*). 0 instructions = no limit.

        Releases the GIL. On the main thread Python signal handlers run during it (KeyboardInterrupt works).
        """
    kvm_run: np.ndarray         # 0-d structured array over the live struct kvm_run (fields as in KVM)
    userspace_exits: int        # USERSPACE_EXIT_* bits, read at every idle instruction
    mwait_policy: int           # MWAIT_*: what MWAIT does when its userspace bit is clear
    immediate_exit: int         # looked at once on entry: run() gives EXIT_INTR
    request_interrupt_window: int
    exit_reason: int            # of the last run()
    # the exit's details, for EXIT_IO and EXIT_MMIO; plain attributes over kvm_run, completed at the next run()
    io_direction: int           # EXIT_IO_IN or EXIT_IO_OUT
    io_size: int                # bytes: 1, 2 or 4
    io_port: int
    io_data: int                # OUT: the value written; IN: set it before the next run()
    mmio_address: int           # physical
    mmio_length: int            # bytes
    mmio_is_write: int
    mmio_data: int              # write: the value; read: set it before the next run()
    internal_error: int         # suberror of EXIT_INTERNAL_ERROR (1 = no memory to fetch code from)

    mp_state: int               # MP_STATE_*; any thread may read it
    @property
    def waiting(self) -> str:
        """'' while running, 'hlt' or 'mwait' while blocked in the core; any thread may read it."""
    @property
    def instructions(self) -> int:
        """Instructions retired since RESET, 64 bits."""
    @property
    def stats(self) -> dict[str, int]:
        """Counters since RESET. A fresh dict at each read.

        exits io_exits mmio_exits halt_exits halt_wakeup irq_injections nmi_injections
        mwait_instructions mwait_exits mwait_waits  (waits = really blocked)
        monitor_arms monitor_unacknowledged monitor_triggers_vcpu monitor_triggers_host
        wakes_store wakes_interrupt wakes_kick
        write_faults (stores that took the slow path of a protected page; this vCPU as the writer) false_faults
        page_protections page_releases tlb_misses blocks_decoded blocks_dropped
        """
    def interrupt(self, vector: int) -> None:
        """Make a maskable external interrupt pending, from any thread. ValueError unless 0..255."""
    def nmi(self) -> None: ...
    def kick(self) -> None:
        """Make the current or, when none is under way, the next run() return EXIT_INTR. Any thread; never lost."""
    @property
    def wake_fd(self) -> int:
        """An eventfd that polls readable once a vCPU that exited HALTED is runnable again."""
    @property
    def monitor(self) -> tuple[str, int]:
        """State ('idle', 'armed', 'waiting', 'triggered') and line (physical address) of the monitor."""
