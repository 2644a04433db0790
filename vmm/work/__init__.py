"""Deferred work: what the VMM has to do for its guest and does while the guest is idle.

`Executor.submit` takes tasks from any thread. Three executors with one face say who does them:
`VCPUExecutor` the vCPUs' own threads, `WorkerExecutor` threads beside them, `HelperExecutor` both.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import Final

from vmm.work.executor import BudgetError, Executor, Observer, Server
from vmm.work.on_vcpus import VCPUExecutor
from vmm.work.on_workers import HelperExecutor, WorkerExecutor
from vmm.work.report import WorkReport
from vmm.work.task import LongWork, Priority, Task, TaskState

#: The executor that a machine has unless it is told otherwise.
WorkQueue = VCPUExecutor

#: Who does deferred work, by name, and what that is.
EXECUTORS: Final[dict[str, tuple[type[VCPUExecutor | WorkerExecutor], str]]] = {
    "vcpu": (VCPUExecutor, "the vCPUs' threads, when their guests are idle: the RFC's proposal"),
    "workers": (WorkerExecutor, "a thread of its own"),
    "helpers": (HelperExecutor, "a thread of its own, with the help of idle vCPUs"),
}


def make_executor(name: str, clock: Callable[[], int] = monotonic_ns) -> Executor:
    """The executor of that name, with a clock in ns.

    Raises ValueError, which lists the known names, for another.
    """
    if name not in EXECUTORS:
        raise ValueError(f"unknown executor of work: {name!r} (known: {', '.join(EXECUTORS)})")
    return EXECUTORS[name][0](clock=clock)


__all__ = [
    "EXECUTORS",
    "BudgetError",
    "Executor",
    "HelperExecutor",
    "LongWork",
    "Observer",
    "Priority",
    "Server",
    "Task",
    "TaskState",
    "VCPUExecutor",
    "WorkQueue",
    "WorkReport",
    "WorkerExecutor",
    "make_executor",
]
