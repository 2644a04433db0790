"""struct kvm_run as a numpy dtype: every member of it, the exits of other architectures too.

Source: Linux 6.1 `include/uapi/linux/kvm.h`. `userspace_exits` stands where the RFC "Allow
userspace exit on HLT and MWAIT" put it; `disable_exits`, `mwait_policy` and `hlt_policy` are ours
and take the next bytes of its padding. An anonymous union is flattened: its members overlap.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

#: Offset of the union of exits, in bytes, and how large it is.
EXIT_OFFSET: Final = 32
EXIT_SIZE: Final = 256

#: What KVM_GET_VCPU_MMAP_SIZE says: the structure's page, and one for the data of port accesses.
MMAP_SIZE: Final = 8192


def _struct(*members: tuple[Any, ...]) -> np.dtype[Any]:
    """Laid out as C does."""
    return np.dtype(list(members), align=True)


def _union(**members: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": list(members),
            "formats": list(members.values()),
            "offsets": [0] * len(members),
            "itemsize": max(member.itemsize for member in members.values()),
        },
        align=True,
    )


#: struct kvm_debug_exit_arch of x86 (asm/kvm.h).
_DEBUG = _struct(("exception", "u4"), ("pad", "u4"), ("pc", "u8"), ("dr6", "u8"), ("dr7", "u8"))

_HYPERV = _union(
    synic=_struct(
        ("msr", "u4"), ("pad2", "u4"), ("control", "u8"), ("evt_page", "u8"), ("msg_page", "u8")
    ),
    hcall=_struct(("input", "u8"), ("result", "u8"), ("params", "u8", 2)),
    syndbg=_struct(
        ("msr", "u4"),
        ("pad2", "u4"),
        ("control", "u8"),
        ("status", "u8"),
        ("send_page", "u8"),
        ("recv_page", "u8"),
        ("pending_page", "u8"),
    ),
)

_XEN = _union(
    hcall=_struct(
        ("longmode", "u4"), ("cpl", "u4"), ("input", "u8"), ("result", "u8"), ("params", "u8", 6)
    )
)

#: The members of the union of exits. One is meaningful at a time, as `exit_reason` says.
EXITS: Final[dict[str, np.dtype[Any]]] = {
    "hw": _struct(("hardware_exit_reason", "u8")),
    "fail_entry": _struct(("hardware_entry_failure_reason", "u8"), ("cpu", "u4")),
    "ex": _struct(("exception", "u4"), ("error_code", "u4")),
    "io": _struct(
        ("direction", "u1"), ("size", "u1"), ("port", "u2"), ("count", "u4"), ("data_offset", "u8")
    ),
    "debug": _struct(("arch", _DEBUG)),
    "mmio": _struct(("phys_addr", "u8"), ("data", "u1", 8), ("len", "u4"), ("is_write", "u1")),
    "hypercall": _struct(
        ("nr", "u8"), ("args", "u8", 6), ("ret", "u8"), ("longmode", "u4"), ("pad", "u4")
    ),
    "tpr_access": _struct(("rip", "u8"), ("is_write", "u4"), ("pad", "u4")),
    "s390_sieic": _struct(("icptcode", "u1"), ("ipa", "u2"), ("ipb", "u4")),
    "s390_reset_flags": np.dtype("u8"),
    "s390_ucontrol": _struct(("trans_exc_code", "u8"), ("pgm_code", "u4")),
    "dcr": _struct(("dcrn", "u4"), ("data", "u4"), ("is_write", "u1")),
    "internal": _struct(("suberror", "u4"), ("ndata", "u4"), ("data", "u8", 16)),
    "emulation_failure": _struct(
        ("suberror", "u4"),
        ("ndata", "u4"),
        ("flags", "u8"),
        ("insn_size", "u1"),
        ("insn_bytes", "u1", 15),
    ),
    "osi": _struct(("gprs", "u8", 32)),
    "papr_hcall": _struct(("nr", "u8"), ("ret", "u8"), ("args", "u8", 9)),
    "s390_tsch": _struct(
        ("subchannel_id", "u2"),
        ("subchannel_nr", "u2"),
        ("io_int_parm", "u4"),
        ("io_int_word", "u4"),
        ("ipb", "u4"),
        ("dequeued", "u1"),
    ),
    "epr": _struct(("epr", "u4")),
    "system_event": np.dtype(
        {
            "names": ["type", "ndata", "flags", "data"],
            "formats": ["u4", "u4", "u8", ("u8", 16)],
            "offsets": [0, 4, 8, 8],
            "itemsize": 136,
        }
    ),
    "s390_stsi": _struct(
        ("addr", "u8"),
        ("ar", "u1"),
        ("reserved", "u1"),
        ("fc", "u1"),
        ("sel1", "u1"),
        ("sel2", "u2"),
    ),
    "eoi": _struct(("vector", "u1")),
    "hyperv": _struct(("type", "u4"), ("pad1", "u4"), ("u", _HYPERV)),
    "arm_nisv": _struct(("esr_iss", "u8"), ("fault_ipa", "u8")),
    "msr": _struct(
        ("error", "u1"), ("pad", "u1", 7), ("reason", "u4"), ("index", "u4"), ("data", "u8")
    ),
    "xen": _struct(("type", "u4"), ("u", _XEN)),
    "riscv_sbi": _struct(
        ("extension_id", "u8"), ("function_id", "u8"), ("args", "u8", 6), ("ret", "u8", 2)
    ),
    "riscv_csr": _struct(
        ("csr_num", "u8"), ("new_value", "u8"), ("write_mask", "u8"), ("ret_value", "u8")
    ),
    "notify": _struct(("flags", "u4")),
}

#: Everything outside that union: name, format, offset.
_OUTSIDE: Final = (
    ("request_interrupt_window", "u1", 0),
    ("immediate_exit", "u1", 1),
    ("userspace_exits", "u1", 2),
    ("disable_exits", "u1", 3),
    ("mwait_policy", "u1", 4),
    ("hlt_policy", "u1", 5),
    ("exit_reason", "u4", 8),
    ("ready_for_interrupt_injection", "u1", 12),
    ("if_flag", "u1", 13),
    ("flags", "u2", 14),
    ("cr8", "u8", 16),
    ("apic_base", "u8", 24),
    ("kvm_valid_regs", "u8", EXIT_OFFSET + EXIT_SIZE),
    ("kvm_dirty_regs", "u8", EXIT_OFFSET + EXIT_SIZE + 8),
    ("s", ("u1", 2048), EXIT_OFFSET + EXIT_SIZE + 16),
)

KVM_RUN: Final = np.dtype(
    {
        "names": [name for name, _, _ in _OUTSIDE] + list(EXITS),
        "formats": [form for _, form, _ in _OUTSIDE] + list(EXITS.values()),
        "offsets": [offset for _, _, offset in _OUTSIDE] + [EXIT_OFFSET] * len(EXITS),
        "itemsize": MMAP_SIZE,
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

#: What a watchpoint is for; both bits for any access.
WATCH_READ: Final = 1
WATCH_WRITE: Final = 2
