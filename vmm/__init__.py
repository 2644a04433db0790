"""A virtual machine monitor shaped like a KVM userspace, over the x86core emulator.

    machine = vmm.Machine.load("guest.S", memory="16M", vcpus=2, idle="fault")
    result = machine.run(timeout=5.0)

It enters a vCPU, gets an exit reason back, and uses the time in which the guest is idle for its own
deferred work: `machine.work.submit(task)`.
"""

from vmm import kvm
from vmm.asm import AssemblyError, assemble
from vmm.idle import HLT_CHOICES, MWAIT_CHOICES, IdlePolicy, idle_policy
from vmm.loader import Guest, LoadError, describe
from vmm.machine import Machine
from vmm.result import Outcome, Result, VCPUResult
from vmm.seeing import Timeline, TimelineError
from vmm.snapshot import SnapshotError
from vmm.work import WorkQueue, WorkReport

__all__ = [
    "HLT_CHOICES",
    "MWAIT_CHOICES",
    "AssemblyError",
    "Guest",
    "IdlePolicy",
    "LoadError",
    "Machine",
    "Outcome",
    "Result",
    "SnapshotError",
    "Timeline",
    "TimelineError",
    "VCPUResult",
    "WorkQueue",
    "WorkReport",
    "assemble",
    "describe",
    "idle_policy",
    "kvm",
]
