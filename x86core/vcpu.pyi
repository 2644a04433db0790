from collections.abc import Iterable

from x86core.memory import Memory
from x86core.observed import Observed
from x86core.translation import Translation

#: How many vCPUs one memory can have.
MAX_VCPUS: int

def check_tail_calls() -> None:
    """Refuse a build whose handlers do not end in tail calls: its stack would grow with the guest.

    Raises ImportError, with what to do.
    """

class VCPU(Observed):
    """One virtual processor on a guest memory. Its state is first that after RESET (SDM vol. 3, 10.1).

    `index` is its number; its low 8 bits are the local APIC ID. The one with index 0 is RUNNABLE, others are UNINITIALIZED
    until a start_*, or a start-up IPI. Raises ValueError when the index is not in 0..1023 or is taken.
    Registers may be read and written while the vCPU is out of run(); setting one raises ValueError when
    the value does not fit, RuntimeError while the vCPU runs.
    """

    def __init__(self, memory: Memory, index: int = 0) -> None: ...
    @property
    def index(self) -> int:
        """Number of the vCPU in its machine."""
    def reset(self) -> None:
        """The state after RESET: real mode, CS:EIP at the reset vector FFFFFFF0h."""
    def save(self) -> bytes:
        """All of its state but the contents of RAM, as bytes that `restore` takes.

        An exit under way, a wait in HLT or MWAIT, an armed monitor, pending events, counters and parameters are
        part of it. Raises RuntimeError while it is in run().
        """
    def restore(self, state: bytes) -> None:
        """Go on as the vCPU of this number that was saved, in this machine or another one with the same RAM.

        Raises ValueError, and changes nothing, for bytes that are no state of such a vCPU; RuntimeError while it is
        in run().
        """
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
        repeated string instruction counts once, when it is finished; exceptions in a row, between which nothing
        retires, count as instructions from the second on. An EXIT_IO or EXIT_MMIO of
        the call before is completed first. The GIL is released; on the main thread Python's signal
        handlers run, so that Ctrl-C raises KeyboardInterrupt. No limit bounds a guest that sleeps in HLT or
        MWAIT: `kick` does.
        Raises ValueError for a limit below 0 or above 2**60, RuntimeError when run() is under way.
        """
    def translate(self, linear: int) -> Translation:
        """Where a linear address leads, as KVM_TRANSLATE has it: a Translation. Marks nothing and raises no page fault.

        Raises ValueError unless it fits 32 bits, RuntimeError while the vCPU is in run().
        """
    def interrupt(self, vector: int) -> None:
        """Make a maskable external interrupt pending; the highest vector is taken first.

        From any thread. Raises ValueError unless the vector is in 0..255.
        """
    def nmi(self) -> None:
        """Make a non-maskable interrupt pending, from any thread."""
    def init(self) -> None:
        """Send INIT, from any thread: vCPU 0 begins at the reset vector again, any other waits for `sipi`."""
    def sipi(self, vector: int) -> None:
        """Send a start-up IPI, from any thread: a vCPU that waits for it begins at vector * 4096 in real mode.

        Raises ValueError unless the vector is in 0..255.
        """
    def kick(self) -> None:
        """Make the run() under way, or else the next one, return EXIT_INTR. From any thread; never lost."""
    single_step: bool
    block_interrupts: bool
    stops_before_wakes: bool
    own_store_ns: int
    def set_guest_debug(
        self,
        breakpoints: Iterable[int] = (),
        watchpoints: Iterable[tuple[int, int, int]] = (),
    ) -> None:
        """Leave run() with EXIT_DEBUG at breakpoints and behind accesses; replaces what was set before.

        breakpoints: linear addresses of instructions, each of which is left before it is executed, unless run()
        has left with EXIT_DEBUG right there before. Guest memory is not changed for them.
        watchpoints: (linear address, length in bytes, WATCH_READ | WATCH_WRITE). run() is left behind the instruction,
        the element of a repeated one, or the event whose access meets one. Accesses by other vCPUs, devices and the
        host do not count, nor does fetching instructions.
        As KVM_SET_GUEST_DEBUG with KVM_GUESTDBG_USE_HW_BP, but for the numbers. From any thread: a vCPU in the guest
        takes it over at its next block. RESET leaves it alone.
        Raises ValueError for what is not in the linear address space, for an unknown kind, and for more than
        4096 breakpoints or 256 watchpoints.
        """
    @property
    def debug_exit(self) -> tuple[str, int]:
        """Why run() returned EXIT_DEBUG: ('step', 'breakpoint', 'read' or 'write', linear address); ('', 0) else.

        The address is that of the instruction, or the first one of the access that is watched.
        """
    @property
    def last_event(self) -> int:
        """Vector of the exception or interrupt delivered last, -1 since RESET. INT n and its kin are none."""
    mp_state: int
    @property
    def waiting(self) -> str:
        """'hlt', 'mwait' or 'start' while it blocks in the core, else ''. From any thread."""
    @property
    def monitor(self) -> tuple[str, int]:
        """(state, line): 'idle', 'armed', 'waiting' or 'triggered', and the line's physical address."""
    @property
    def wake_fd(self) -> int:
        """A file descriptor that polls readable exactly while the vCPU is runnable: run() would not wait.

        For select, poll, epoll and asyncio; there is nothing to read from it. From any thread. From its first use
        on each wait costs two system calls more. Raises OSError when the host has no descriptors left.
        """
    @property
    def features(self) -> tuple[str, ...]:
        """What CPUID offers besides the usual, a tuple of names: 'monitorx', 'waitpkg'. RESET leaves it alone."""
    @features.setter
    def features(self, names: Iterable[str]) -> None: ...
    @property
    def lapic(self) -> bytes:
        """The local APIC's registers as KVM_GET_LAPIC has them: 1024 bytes, a register in each 16."""
    @property
    def instructions(self) -> int:
        """Instructions retired since RESET."""
    @property
    def stats(self) -> dict[str, int]:
        """Counters since RESET, a new dict at each read."""
    @property
    def host_stack(self) -> int:
        """Deepest host stack that the guest has used, in bytes: small while every handler tail-calls."""
