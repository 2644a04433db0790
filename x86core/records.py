"""What a record of a vCPU says (`VCPU.take_records`): its layout and its numbers.

They are those of `Record` in state.pxd and of constants.pxd.
"""

from __future__ import annotations

from typing import Final

import numpy as np

#: Times are guest time in ns; what the members say depends on `kind`. Of a wait: begin, end,
#: `polled` (how long it spun, from its beginning), `policy` (HLT_* or MWAIT_*, or
#: POLICY_PASSTHROUGH), `cause` (WAKE_*), in `detail` the vector of the interrupt that ended it;
#: `agent`, the vCPU that stored, sent or kicked, or AGENT_*; `asked_at`, when it did (-1: unknown).
#: Of RECORD_ENTRY and RECORD_EXIT: `begin`, which is `end`; in `detail` of the exit its reason.
#: `lost` records found no room just before this one.
RECORD: Final = np.dtype(
    [
        ("begin", "i8"),
        ("end", "i8"),
        ("asked_at", "i8"),
        ("polled", "i8"),
        ("lost", "u4"),
        ("agent", "i4"),
        ("kind", "u2"),
        ("policy", "u2"),
        ("cause", "u2"),
        ("detail", "u2"),
    ]
)

#: Kinds: a wait in HLT, in MWAIT or its kin, or for INIT or SIPI; run() was called, or is over.
RECORD_HLT: Final = 1
RECORD_MWAIT: Final = 2
RECORD_START: Final = 3
RECORD_ENTRY: Final = 4
RECORD_EXIT: Final = 5

#: What ended a wait. Requests are kvm_run.immediate_exit and request_interrupt_window.
WAKE_STORE: Final = 1
WAKE_INTERRUPT: Final = 2
WAKE_NMI: Final = 3
WAKE_START: Final = 4
WAKE_KICK: Final = 5
WAKE_REQUEST: Final = 6
WAKE_LIMIT: Final = 7

#: Who that was, if no vCPU: the VMM or a device; the vCPU's own APIC timer; nobody knows.
AGENT_HOST: Final = -1
AGENT_TIMER: Final = -2
AGENT_UNKNOWN: Final = -3

#: What is passed through waits by no policy.
POLICY_PASSTHROUGH: Final = 0x100
