"""Idle policies: what MWAIT and HLT of a guest come to.

A policy is data: what to store into `struct kvm_run`. The core reads it at every MWAIT and HLT, so
a switch costs a few writes and no call into the core: the light, per-entry intercept that A. Graf's
reply to the RFC asks for. Parameters of the policies (`halt_poll_ns` and the like) are attributes
of `x86core.VCPU`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmm import kvm
from x86core import (
    HLT_BLOCK,
    HLT_POLL,
    MWAIT_ADAPTIVE,
    MWAIT_FAULT,
    MWAIT_HALT,
    MWAIT_NOP,
    MWAIT_SCAN,
    MWAIT_TIMER,
    MWAIT_YIELD,
    VCPU,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to handle an idle instruction, of those that can be chosen by name."""

    name: str
    summary: str
    #: `kvm_run.mwait_policy` or `kvm_run.hlt_policy`, of an instruction that is intercepted.
    policy: int
    #: Bits of `kvm_run.userspace_exits` and of `kvm_run.disable_exits`.
    userspace_exits: int = 0
    disable_exits: int = 0


def _by_name(*choices: Choice) -> dict[str, Choice]:
    return {choice.name: choice for choice in choices}


MWAIT_CHOICES = _by_name(
    Choice("nop", "a NOP, straight back to the guest: KVM today", MWAIT_NOP),
    Choice("yield", "sched_yield(), then back: the RFC's fallback", MWAIT_YIELD),
    Choice(
        "exit",
        "KVM_EXIT_MWAIT, the vCPU stays runnable: the RFC's proposal",
        MWAIT_NOP,
        userspace_exits=kvm.KVM_X86_USERSPACE_EXIT_MWAIT,
    ),
    Choice(
        "passthrough",
        "waited for in the guest, the core held: KVM_CAP_X86_DISABLE_EXITS",
        MWAIT_NOP,
        disable_exits=kvm.KVM_X86_DISABLE_EXITS_MWAIT,
    ),
    Choice("halt", "HLT, only an interrupt wakes: QEMU with one CPU, VirtualBox", MWAIT_HALT),
    Choice("timer", "sleep a slice, then look again: mwait-sched", MWAIT_TIMER),
    Choice("scan", "asleep, every VM entry compares all lines: mwait-proxy", MWAIT_SCAN),
    Choice("fault", "asleep until the write fault on the line", MWAIT_FAULT),
    Choice("adaptive", "poll a window that grows and shrinks, then as fault", MWAIT_ADAPTIVE),
)

HLT_CHOICES = _by_name(
    Choice("block", "asleep in the core until an interrupt", HLT_BLOCK),
    Choice("poll", "poll first, as KVM's halt_poll_ns, then block", HLT_POLL),
    Choice(
        "exit",
        "KVM_EXIT_HLT with mp_state HALTED; the VMM works, then waits for wake_fd",
        HLT_BLOCK,
        userspace_exits=kvm.KVM_X86_USERSPACE_EXIT_HLT,
    ),
    Choice(
        "passthrough",
        "waited for in the guest, the core held: KVM_CAP_X86_DISABLE_EXITS",
        HLT_BLOCK,
        disable_exits=kvm.KVM_X86_DISABLE_EXITS_HLT,
    ),
)


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """A choice for MWAIT and one for HLT, as what a vCPU's `struct kvm_run` is to hold."""

    name: str
    userspace_exits: int
    disable_exits: int
    mwait_policy: int
    hlt_policy: int

    def apply(self, vcpu: VCPU) -> None:
        """Put the policy in force from the vCPU's next idle instruction on. Any thread may."""
        vcpu.mwait_policy = self.mwait_policy
        vcpu.hlt_policy = self.hlt_policy
        vcpu.disable_exits = self.disable_exits
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
        disable_exits=mwait_choice.disable_exits | hlt_choice.disable_exits,
        mwait_policy=mwait_choice.policy,
        hlt_policy=hlt_choice.policy,
    )


def _chosen(instruction: str, choices: dict[str, Choice], name: str) -> Choice:
    if name not in choices:
        known = ", ".join(choices)
        raise ValueError(f"unknown idle policy for {instruction}: {name!r} (known: {known})")
    return choices[name]
