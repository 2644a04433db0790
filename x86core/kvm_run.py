"""struct kvm_run as a numpy dtype: the first members, the exits used here, what idle members mean.

Source: Linux `include/uapi/linux/kvm.h`. `userspace_exits` stands where the RFC "Allow userspace
exit on HLT and MWAIT" put it; `disable_exits`, `mwait_policy` and `hlt_policy` are ours and take
the next bytes of its padding.
"""

from __future__ import annotations

from typing import Final

import numpy as np

#: Offset of the union of exits, in bytes.
EXIT_OFFSET: Final = 32

_IO = np.dtype(
    [("direction", "u1"), ("size", "u1"), ("port", "u2"), ("count", "u4"), ("data_offset", "u8")]
)
_MMIO = np.dtype([("phys_addr", "u8"), ("data", "u1", 8), ("len", "u4"), ("is_write", "u1")])
_INTERNAL = np.dtype([("suberror", "u4"), ("ndata", "u4"), ("data", "u8", 16)])
_EOI = np.dtype([("vector", "u1")])

#: One member of the union is meaningful at a time, as `exit_reason` says.
KVM_RUN: Final = np.dtype(
    {
        "names": [
            "request_interrupt_window",
            "immediate_exit",
            "userspace_exits",
            "disable_exits",
            "mwait_policy",
            "hlt_policy",
            "exit_reason",
            "ready_for_interrupt_injection",
            "if_flag",
            "flags",
            "cr8",
            "apic_base",
            "io",
            "mmio",
            "internal",
            "eoi",
        ],
        "formats": [
            "u1",
            "u1",
            "u1",
            "u1",
            "u1",
            "u1",
            "u4",
            "u1",
            "u1",
            "u2",
            "u8",
            "u8",
            _IO,
            _MMIO,
            _INTERNAL,
            _EOI,
        ],
        "offsets": [0, 1, 2, 3, 4, 5, 8, 12, 13, 14, 16, 24, *[EXIT_OFFSET] * 4],
        "itemsize": 8192,
    }
)

#: Bits of `userspace_exits`: what leaves to userspace (the RFC's KVM_X86_USERSPACE_EXIT_*).
USERSPACE_EXIT_MWAIT: Final = 1 << 0
USERSPACE_EXIT_HLT: Final = 1 << 1

#: Bits of `disable_exits`: what is passed through (KVM_X86_DISABLE_EXITS_*, here for each entry).
DISABLE_EXITS_MWAIT: Final = 1 << 0
DISABLE_EXITS_HLT: Final = 1 << 1

#: Values of `mwait_policy`: what MWAIT does when it neither exits nor is passed through.
MWAIT_NOP: Final = 0
MWAIT_YIELD: Final = 1
MWAIT_FAULT: Final = 2
MWAIT_HALT: Final = 3
MWAIT_TIMER: Final = 4
MWAIT_SCAN: Final = 5
MWAIT_ADAPTIVE: Final = 6

#: Values of `hlt_policy`: what HLT does when it neither exits nor is passed through.
HLT_BLOCK: Final = 0
HLT_POLL: Final = 1
