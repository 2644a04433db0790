from typing import Any

from numpy.typing import NDArray

from x86core.memory import Memory
from x86core.registers import Registers

class RunArea(Registers):
    """What a vCPU shares with whoever runs it.

    `userspace_exits` (USERSPACE_EXIT_* bits) and `disable_exits` (DISABLE_EXITS_* bits, which win) choose what leaves
    run() and what is passed through; `mwait_policy` (MWAIT_*) and `hlt_policy` (HLT_*) what becomes of the rest. All
    are read at each idle instruction. While `immediate_exit` is not 0, run() returns EXIT_INTR; while
    `request_interrupt_window` is not 0, EXIT_IRQ_WINDOW_OPEN as soon as the guest would take an interrupt. Setting
    these two reaches a run() under way, waiting or not. The halt_poll_* are KVM's module parameters, for HLT_POLL and
    MWAIT_ADAPTIVE; `mwait_timer_ns` is a slice of MWAIT_TIMER; a sleeper under MWAIT_SCAN looks at its line itself
    every `mwait_scan_ns`. All may be set from any thread; ValueError for what is out of range.
    """

    @property
    def memory(self) -> Memory: ...
    @property
    def kvm_run(self) -> NDArray[Any]:
        """A structured array of shape () and dtype KVM_RUN over the live struct kvm_run."""
    userspace_exits: int
    disable_exits: int
    mwait_policy: int
    hlt_policy: int
    immediate_exit: int
    request_interrupt_window: int
    halt_poll_ns: int
    halt_poll_ns_grow: int
    halt_poll_ns_grow_start: int
    halt_poll_ns_shrink: int
    mwait_timer_ns: int
    mwait_scan_ns: int
    @property
    def exit_reason(self) -> int:
        """What the last run() returned."""
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
    def eoi_vector(self) -> int:
        """The vector that EXIT_IOAPIC_EOI tells the end of."""
    @property
    def internal_error(self) -> int:
        """Suberror of EXIT_INTERNAL_ERROR: 1 when there is no RAM to fetch instructions from."""
