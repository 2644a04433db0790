"""Idle policies: what MWAIT and HLT of a guest come to.

A policy is data: the bits of `kvm_run.userspace_exits` and the value of `kvm_run.mwait_policy`. The
core reads both at every MWAIT and HLT, so a switch costs one write and no call into the core: the
light, per-entry intercept that A. Graf's reply to the RFC asks for.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmm import kvm
from x86core import MWAIT_FAULT, MWAIT_NOP, MWAIT_YIELD, VCPU


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to handle an idle instruction, of those that can be chosen by name."""

    name: str
    summary: str
    userspace_exits: int = 0
    mwait_policy: int = MWAIT_NOP


MWAIT_CHOICES = {
    choice.name: choice
    for choice in (
        Choice("nop", "a NOP, straight back to the guest: KVM today", mwait_policy=MWAIT_NOP),
        Choice("yield", "sched_yield(), then back: the RFC's fallback", mwait_policy=MWAIT_YIELD),
        Choice(
            "exit",
            "KVM_EXIT_MWAIT, the vCPU stays runnable: the RFC's proposal",
            userspace_exits=kvm.KVM_X86_USERSPACE_EXIT_MWAIT,
        ),
        Choice("fault", "asleep until the write fault on the line", mwait_policy=MWAIT_FAULT),
    )
}

HLT_CHOICES = {
    choice.name: choice
    for choice in (
        Choice("block", "asleep in the core until an interrupt"),
        Choice(
            "exit",
            "KVM_EXIT_HLT with mp_state HALTED; the VMM works, then waits for wake_fd",
            userspace_exits=kvm.KVM_X86_USERSPACE_EXIT_HLT,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """A choice for MWAIT and one for HLT, as what a vCPU needs to be told."""

    name: str
    userspace_exits: int
    mwait_policy: int

    def apply(self, vcpu: VCPU) -> None:
        """Put the policy in force from the vCPU's next idle instruction on. Any thread may."""
        vcpu.mwait_policy = self.mwait_policy
        vcpu.userspace_exits = self.userspace_exits


def idle_policy(mwait: str = "fault", hlt: str = "block") -> IdlePolicy:
    """The policy of that name for MWAIT and of that for HLT.

    Raises ValueError, which lists the known names, for another name.
    """
    mwait_choice = _chosen("MWAIT", MWAIT_CHOICES, mwait)
    hlt_choice = _chosen("HLT", HLT_CHOICES, hlt)
    return IdlePolicy(
        name=f"MWAIT {mwait}, HLT {hlt}",
        userspace_exits=mwait_choice.userspace_exits | hlt_choice.userspace_exits,
        mwait_policy=mwait_choice.mwait_policy,
    )


def _chosen(instruction: str, choices: dict[str, Choice], name: str) -> Choice:
    if name not in choices:
        known = ", ".join(choices)
        raise ValueError(f"unknown idle policy for {instruction}: {name!r} (known: {known})")
    return choices[name]
