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
from vmm.work import (
    EXECUTORS,
    Executor,
    HelperExecutor,
    Priority,
    Task,
    TaskState,
    VCPUExecutor,
    WorkerExecutor,
    WorkQueue,
    WorkReport,
)

__all__ = [
    "EXECUTORS",
    "HLT_CHOICES",
    "MWAIT_CHOICES",
    "AssemblyError",
    "Executor",
    "Guest",
    "HelperExecutor",
    "IdlePolicy",
    "LoadError",
    "Machine",
    "Outcome",
    "Priority",
    "Result",
    "SnapshotError",
    "Task",
    "TaskState",
    "Timeline",
    "TimelineError",
    "VCPUExecutor",
    "VCPUResult",
    "WorkQueue",
    "WorkReport",
    "WorkerExecutor",
    "assemble",
    "describe",
    "idle_policy",
    "kvm",
]
