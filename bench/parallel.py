"""Two vCPUs on two threads against one: does the second one come free?"""

from __future__ import annotations

import os
import threading
from time import perf_counter, sleep

import x86core
from bench.engines import EngineError
from bench.loops import CODE_ADDRESS, RAM_SIZE, STACK_TOP, image

#: What the vCPUs run, and an ECX with which it does not end: calls, returns and stores to a stack.
_PROGRAM, _ENDLESS = "fib", 90

#: Stacks of different vCPUs have no page in common.
_STACK_SIZE = 0x10000


def instruction_rate(vcpus: int, seconds: float) -> float:
    """Guest instructions per second that so many vCPUs over one memory retire together.

    Raises EngineError when one of them stops by itself, or when the host has fewer CPUs.
    """
    if len(os.sched_getaffinity(0)) < vcpus:
        raise EngineError(f"{vcpus} vCPUs in parallel need {vcpus} CPUs of the host")
    memory = x86core.Memory(RAM_SIZE)
    memory.write(0, image(_PROGRAM))
    runners = [_Runner(memory, index) for index in range(vcpus)]
    start = perf_counter()
    try:
        for runner in runners:
            runner.thread.start()
        sleep(seconds)
    finally:
        for runner in runners:
            runner.vcpu.kick()
        for runner in runners:
            if runner.thread.ident is not None:
                runner.thread.join()
    elapsed = perf_counter() - start
    if any(runner.reason != x86core.EXIT_INTR for runner in runners):
        raise EngineError("a vCPU stopped by itself")
    return sum(runner.vcpu.instructions for runner in runners) / elapsed


class _Runner:
    """A vCPU and its thread."""

    def __init__(self, memory: x86core.Memory, index: int) -> None:
        self.vcpu = x86core.VCPU(memory, index)
        self.vcpu.start_flat32(CODE_ADDRESS, STACK_TOP - index * _STACK_SIZE)
        self.vcpu.ecx = _ENDLESS
        self.reason: int | None = None
        self.thread = threading.Thread(target=self._run, name=f"vCPU {index}")

    def _run(self) -> None:
        self.reason = self.vcpu.run()
