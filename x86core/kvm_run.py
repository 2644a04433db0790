"""struct kvm_run as a numpy dtype: the first members, and the exits used here.

Source: Linux `include/uapi/linux/kvm.h`. `userspace_exits` stands where the RFC "Allow userspace
exit on HLT and MWAIT" put it; `mwait_policy` is ours and takes the next byte of its padding.
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

#: One member of the union is meaningful at a time, as `exit_reason` says.
KVM_RUN: Final = np.dtype(
    {
        "names": [
            "request_interrupt_window",
            "immediate_exit",
            "userspace_exits",
            "mwait_policy",
            "exit_reason",
            "ready_for_interrupt_injection",
            "if_flag",
            "flags",
            "cr8",
            "apic_base",
            "io",
            "mmio",
            "internal",
        ],
        "formats": [
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
        ],
        "offsets": [0, 1, 2, 3, 8, 12, 13, 14, 16, 24, EXIT_OFFSET, EXIT_OFFSET, EXIT_OFFSET],
        "itemsize": 8192,
    }
)
