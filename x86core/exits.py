"""Why `VCPU.run` returned, and what a vCPU can be doing: the numbers of the KVM API.

Source: Linux `include/uapi/linux/kvm.h`. `EXIT_MWAIT` is the number that the RFC "Allow userspace
exit on HLT and MWAIT" (D. Woodhouse, 18 September 2023) proposed; upstream later gave 38 to
another exit.
"""

from __future__ import annotations

from typing import Final

EXIT_UNKNOWN: Final = 0
EXIT_IO: Final = 2
EXIT_DEBUG: Final = 4
EXIT_HLT: Final = 5
EXIT_MMIO: Final = 6
EXIT_IRQ_WINDOW_OPEN: Final = 7
EXIT_SHUTDOWN: Final = 8
EXIT_FAIL_ENTRY: Final = 9
EXIT_INTR: Final = 10
EXIT_INTERNAL_ERROR: Final = 17
EXIT_IOAPIC_EOI: Final = 26
EXIT_MWAIT: Final = 38

#: The instruction limit given to `run` is spent. Ours, outside KVM's range.
EXIT_LIMIT: Final = 0x100

#: The vCPU waits, and in virtual time nothing comes to pass before somebody else has run. Ours.
EXIT_IDLE: Final = 0x101

#: Ours, while `stops_before_wakes` is set: the next instruction stores to a page on which a monitor
#: was armed, or sends an interrupt by the local APIC. The next `run` begins with it.
EXIT_STORE: Final = 0x102
EXIT_IPI: Final = 0x103

EXIT_NAMES: Final = {
    value: name for name, value in sorted(globals().items()) if name.startswith("EXIT_")
}

MP_STATE_RUNNABLE: Final = 0
MP_STATE_UNINITIALIZED: Final = 1
MP_STATE_INIT_RECEIVED: Final = 2
MP_STATE_HALTED: Final = 3
MP_STATE_SIPI_RECEIVED: Final = 4

#: `kvm_run.io.direction`.
EXIT_IO_IN: Final = 0
EXIT_IO_OUT: Final = 1
