"""The names of the KVM API that the RFC and its replies speak of, with their numbers.

Sources: Linux `include/uapi/linux/kvm.h`, and the RFC "KVM: x86: Allow userspace exit on HLT and
MWAIT, else yield on MWAIT" (D. Woodhouse, 18 September 2023).

Three numbers are the RFC's, which was not merged, and mean something else in today's kernels:
`KVM_EXIT_MWAIT` (38; upstream's KVM_EXIT_LOONGARCH_IOCSR), `KVM_CAP_X86_USERSPACE_EXITS` (230;
upstream's KVM_CAP_ARM_SUPPORTED_REG_MASK_RANGES), and the byte `userspace_exits` of `struct
kvm_run`, which upstream keeps as padding.  `KVM_EXIT_LIMIT` is no KVM exit at all: it lies outside
KVM's range.
"""

from __future__ import annotations

from typing import Final

import x86core

#: numpy dtype of struct kvm_run.
KVM_RUN: Final = x86core.KVM_RUN

KVM_EXIT_DEBUG: Final = x86core.EXIT_DEBUG
KVM_EXIT_FAIL_ENTRY: Final = x86core.EXIT_FAIL_ENTRY
KVM_EXIT_HLT: Final = x86core.EXIT_HLT
KVM_EXIT_INTERNAL_ERROR: Final = x86core.EXIT_INTERNAL_ERROR
KVM_EXIT_INTR: Final = x86core.EXIT_INTR
KVM_EXIT_IO: Final = x86core.EXIT_IO
KVM_EXIT_IOAPIC_EOI: Final = x86core.EXIT_IOAPIC_EOI
KVM_EXIT_IO_IN: Final = x86core.EXIT_IO_IN
KVM_EXIT_IO_OUT: Final = x86core.EXIT_IO_OUT
KVM_EXIT_IRQ_WINDOW_OPEN: Final = x86core.EXIT_IRQ_WINDOW_OPEN
KVM_EXIT_LIMIT: Final = x86core.EXIT_LIMIT
KVM_EXIT_MMIO: Final = x86core.EXIT_MMIO
KVM_EXIT_MWAIT: Final = x86core.EXIT_MWAIT
KVM_EXIT_SHUTDOWN: Final = x86core.EXIT_SHUTDOWN
KVM_EXIT_UNKNOWN: Final = x86core.EXIT_UNKNOWN

KVM_MP_STATE_HALTED: Final = x86core.MP_STATE_HALTED
KVM_MP_STATE_INIT_RECEIVED: Final = x86core.MP_STATE_INIT_RECEIVED
KVM_MP_STATE_RUNNABLE: Final = x86core.MP_STATE_RUNNABLE
KVM_MP_STATE_SIPI_RECEIVED: Final = x86core.MP_STATE_SIPI_RECEIVED
KVM_MP_STATE_UNINITIALIZED: Final = x86core.MP_STATE_UNINITIALIZED

KVM_X86_USERSPACE_EXIT_HLT: Final = x86core.USERSPACE_EXIT_HLT
KVM_X86_USERSPACE_EXIT_MWAIT: Final = x86core.USERSPACE_EXIT_MWAIT

KVM_CAP_HLT: Final = 1
KVM_CAP_NR_VCPUS: Final = 9
KVM_CAP_MP_STATE: Final = 14
KVM_CAP_MAX_VCPUS: Final = 66
KVM_CAP_ENABLE_CAP_VM: Final = 98
KVM_CAP_CHECK_EXTENSION_VM: Final = 105
KVM_CAP_MAX_VCPU_ID: Final = 128
KVM_CAP_IMMEDIATE_EXIT: Final = 136

#: KVM_CHECK_EXTENSION answers with the userspace exits that are available (the RFC's).
KVM_CAP_X86_USERSPACE_EXITS: Final = 230
KVM_X86_USERSPACE_VALID_EXITS: Final = KVM_X86_USERSPACE_EXIT_MWAIT | KVM_X86_USERSPACE_EXIT_HLT

#: The VM-wide switch in upstream: the instruction runs in the guest and holds the core.
KVM_CAP_X86_DISABLE_EXITS: Final = 143
KVM_X86_DISABLE_EXITS_MWAIT: Final = x86core.DISABLE_EXITS_MWAIT
KVM_X86_DISABLE_EXITS_HLT: Final = x86core.DISABLE_EXITS_HLT
KVM_X86_DISABLE_EXITS_PAUSE: Final = 1 << 2
KVM_X86_DISABLE_EXITS_CSTATE: Final = 1 << 3
