"""Capabilities as KVM has them: what a machine can be asked for, and what can be switched on.

Machine.check_extension is KVM_CHECK_EXTENSION, Machine.enable_cap is KVM_ENABLE_CAP on the VM
(Linux, Documentation/virt/kvm/api.rst, 4.4 and 4.37), with the ioctl's errors as OSError.

KVM_CAP_X86_DISABLE_EXITS is upstream's (api.rst, 7.13): idle instructions run in the guest and hold
the core, on all vCPUs, for good. KVM refuses it once there are vCPUs. A machine here is made with
them, so it is refused once they run.

KVM_CAP_X86_USERSPACE_EXITS is the RFC's, where it can only be asked for: `kvm_run.userspace_exits`
is obeyed whether or not anybody did. So it is here. That it can be enabled besides is ours: its
bits then are in force on all vCPUs, as a policy of the whole machine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from errno import EINVAL
from typing import Final

from vmm import kvm
from vmm.loop import Loop
from x86core import MAX_VCPUS

#: What KVM_CHECK_EXTENSION answers, by name: 1 for what is there, or how many, or which bits.
EXTENSIONS: Final = {
    "KVM_CAP_HLT": 1,
    "KVM_CAP_NR_VCPUS": min(os.cpu_count() or 1, MAX_VCPUS),
    "KVM_CAP_MP_STATE": 1,
    "KVM_CAP_MAX_VCPUS": MAX_VCPUS,
    "KVM_CAP_ENABLE_CAP_VM": 1,
    "KVM_CAP_CHECK_EXTENSION_VM": 1,
    "KVM_CAP_MAX_VCPU_ID": MAX_VCPUS,
    "KVM_CAP_IMMEDIATE_EXIT": 1,
    "KVM_CAP_X86_DISABLE_EXITS": kvm.KVM_X86_DISABLE_EXITS_MWAIT | kvm.KVM_X86_DISABLE_EXITS_HLT,
    "KVM_CAP_X86_USERSPACE_EXITS": kvm.KVM_X86_USERSPACE_VALID_EXITS,
}

_ANSWERS: Final[dict[int, int]] = {getattr(kvm, name): value for name, value in EXTENSIONS.items()}

#: struct kvm_enable_cap has so many arguments.
_ARGUMENTS: Final = 4


class Capabilities:
    """Those of one machine. `frozen`: its vCPUs run, and what is fixed from then on is fixed."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops
        self.frozen = False

    def check_extension(self, capability: int) -> int:
        """What there is of a KVM_CAP_*; 0 for one that is unknown."""
        return _ANSWERS.get(capability, 0)

    def enable_cap(self, capability: int, args: Sequence[int] = (), flags: int = 0) -> None:
        """Switch a capability on for all vCPUs: those of `args[0]`'s bits are added.

        Raises OSError(EINVAL) for one that cannot be enabled, for bits that `check_extension` does
        not offer, for flags, and for KVM_CAP_X86_DISABLE_EXITS when the vCPUs run already.
        """
        if flags:
            raise OSError(EINVAL, f"flags must be 0, not {flags:#x}")
        if len(args) > _ARGUMENTS:
            raise OSError(EINVAL, f"a capability has {_ARGUMENTS} arguments, not {len(args)}")
        if capability not in (kvm.KVM_CAP_X86_DISABLE_EXITS, kvm.KVM_CAP_X86_USERSPACE_EXITS):
            raise OSError(EINVAL, f"capability {capability} cannot be enabled")
        bits = args[0] if args else 0
        offered = self.check_extension(capability)
        if bits & ~offered:
            raise OSError(
                EINVAL,
                f"capability {capability} has no bits {bits & ~offered:#x}: it offers {offered:#x}",
            )
        if capability == kvm.KVM_CAP_X86_USERSPACE_EXITS:
            self._add(userspace_exits=bits)
        elif self.frozen:
            raise OSError(EINVAL, f"capability {capability} comes too late: the vCPUs run")
        else:
            self._add(disable_exits=bits)

    def _add(self, userspace_exits: int = 0, disable_exits: int = 0) -> None:
        for loop in self._loops:
            policy = loop.policy
            loop.policy = replace(
                policy,
                userspace_exits=policy.userspace_exits | userspace_exits,
                disable_exits=policy.disable_exits | disable_exits,
            )
