from typing import Any

from numpy.typing import NDArray

from x86core.memory import Memory
from x86core.registers import Segment

def check_tail_calls() -> None:
    """Refuse a build whose handlers do not end in tail calls: its stack would grow with the guest.

    Raises ImportError, with what to do.
    """

class VCPU:
    """One virtual processor on a guest memory. Its state is first that after RESET (SDM vol. 3, 10.1).

    `index` is its number and local APIC ID. The one with index 0 is RUNNABLE, others are UNINITIALIZED
    until a start_*. Raises ValueError when the index is not in 0..254 or is taken.
    Registers may be read and written while the vCPU is out of run(); setting one raises ValueError when
    the value does not fit, RuntimeError while the vCPU runs.
    """

    def __init__(self, memory: Memory, index: int = 0) -> None: ...
    @property
    def memory(self) -> Memory: ...
    @property
    def index(self) -> int:
        """Number of the vCPU in its machine, and local APIC ID."""
    eax: int
    ecx: int
    edx: int
    ebx: int
    esp: int
    ebp: int
    esi: int
    edi: int
    eip: int
    eflags: int
    cr0: int
    cr2: int
    cr3: int
    @property
    def cr4(self) -> int: ...
    gdt_base: int
    gdt_limit: int
    idt_base: int
    idt_limit: int
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
    def reset(self) -> None:
        """The state after RESET: real mode, CS:EIP at the reset vector FFFFFFF0h."""
    def start_real_mode(self, cs: int = 0, ip: int = 0x7C00) -> None:
        """RUNNABLE in real mode at cs:ip, with the other segments 0, as a boot sector begins.

        Raises ValueError unless both fit 16 bits.
        """
    def start_flat32(self, eip: int = 0x100000, esp: int = 0x9000) -> None:
        """RUNNABLE in 32-bit protected mode, every segment from 0 to 4 GiB, interrupts off.

        There is neither GDT nor IDT until the guest loads them. Raises ValueError unless both fit 32 bits.
        """
    def run(self, max_instructions: int = 0) -> int:
        """Enter the guest; return the exit reason, one of EXIT_*.

        max_instructions: after how many retired instructions to return EXIT_LIMIT; 0 for no limit. A
        repeated string instruction counts once, when it is finished. An EXIT_IO or EXIT_MMIO of
        the call before is completed first. The GIL is released; on the main thread Python's signal
        handlers run, so that Ctrl-C raises KeyboardInterrupt. No limit bounds a guest that sleeps in HLT or
        MWAIT: `kick` does.
        Raises ValueError for a limit below 0 or above 2**60, RuntimeError when run() is under way.
        """
    def interrupt(self, vector: int) -> None:
        """Make a maskable external interrupt pending; the highest vector is taken first.

        From any thread. Raises ValueError unless the vector is in 0..255.
        """
    def nmi(self) -> None:
        """Make a non-maskable interrupt pending, from any thread."""
    def kick(self) -> None:
        """Make the run() under way, or else the next one, return EXIT_INTR. From any thread; never lost."""
    @property
    def kvm_run(self) -> NDArray[Any]:
        """A structured array of shape () and dtype KVM_RUN over the live struct kvm_run."""
    userspace_exits: int
    mwait_policy: int
    immediate_exit: int
    request_interrupt_window: int
    @property
    def exit_reason(self) -> int:
        """What the last run() returned."""
    single_step: bool
    @property
    def last_event(self) -> int:
        """Vector of the exception or interrupt delivered last, -1 since RESET. INT n and its kin are none."""
    @property
    def io_direction(self) -> int:
        """EXIT_IO_IN or EXIT_IO_OUT."""
    @property
    def io_size(self) -> int:
        """Bytes of the port access: 1, 2 or 4."""
    @property
    def io_port(self) -> int: ...
    io_data: int
    @property
    def mmio_address(self) -> int:
        """Physical address of the access."""
    @property
    def mmio_length(self) -> int:
        """Bytes of the access: 1 to 4."""
    @property
    def mmio_is_write(self) -> int: ...
    mmio_data: int
    @property
    def internal_error(self) -> int:
        """Suberror of EXIT_INTERNAL_ERROR: 1 when there is no RAM to fetch instructions from."""
    mp_state: int
    @property
    def waiting(self) -> str:
        """'hlt', 'mwait' or 'start' while it blocks in the core, else ''. From any thread."""
    @property
    def monitor(self) -> tuple[str, int]:
        """(state, line): 'idle', 'armed', 'waiting' or 'triggered', and the line's physical address."""
    @property
    def wake_fd(self) -> int:
        """An eventfd that polls readable once a vCPU that left run() HALTED is runnable again."""
    @property
    def instructions(self) -> int:
        """Instructions retired since RESET."""
    @property
    def stats(self) -> dict[str, int]:
        """Counters since RESET, a new dict at each read."""
    @property
    def host_stack(self) -> int:
        """Deepest host stack that the guest has used, in bytes: small while every handler tail-calls."""
