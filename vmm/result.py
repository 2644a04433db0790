"""What came of running a machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from vmm.work import WorkReport


class Outcome(StrEnum):
    """Why a machine ended."""

    EXIT_PORT = "exit-port"  # the guest wrote to the exit port
    ALL_HALTED = "all-halted"  # every started vCPU is in HLT, interrupts off: nothing can wake it
    RESET = "reset"  # the guest asked for one, by the keyboard controller or port 92h
    SHUTDOWN = "shutdown"  # a triple fault
    INTERNAL_ERROR = "internal-error"  # no memory to fetch code from, or an exit that nobody knows
    INSTRUCTION_LIMIT = "instruction-limit"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"  # Ctrl-C


@dataclass(frozen=True, slots=True)
class VCPUResult:
    """One vCPU's share. `exits` counts by the reason's name; `location` is the last cs:eip."""

    index: int
    location: str
    waiting: str  # when the end came: "hlt", "mwait" or "start"; "" for one that was not waiting
    instructions: int
    exits: dict[str, int]
    wakes: int  # from HLT and MWAIT, by stores and interrupts
    stats: dict[str, int]  # the core's counters, see `x86core.VCPU.stats`
    cpu_seconds: float  # host CPU time of the vCPU's thread
    #: Host time of the thread in ns by activity (`vmm.seeing.meter.ACTIVITIES`); empty unless the
    #: machine measures.
    times: dict[str, int] = field(default_factory=dict)
    #: Vector of the exception or interrupt that it took last, -1 for none: who runs into nowhere
    #: has often begun with one for which there was no handler.
    last_event: int = -1


@dataclass(frozen=True, slots=True)
class Result:
    """What came of `Machine.run`; `explanation` says it in one line."""

    outcome: Outcome
    explanation: str
    exit_code: int | None  # the byte that the guest wrote to the exit port
    console: str  # the last MiB of what the guest printed
    wall_seconds: float
    vcpus: tuple[VCPUResult, ...]
    work: WorkReport
    trace_hash: int | None = None  # of every turn, where the clock is virtual; 64 bits
    guest_ns: int | None = None  # guest time at the end, where it is virtual

    @property
    def isa_debug_exit_status(self) -> int | None:
        """The process status that QEMU's isa-debug-exit makes of the exit code: code * 2 + 1."""
        return None if self.exit_code is None else self.exit_code * 2 + 1

    def as_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows."""
        trace_hash = None if self.trace_hash is None else f"{self.trace_hash:016x}"
        return asdict(self) | {
            "isa_debug_exit_status": self.isa_debug_exit_status,
            "trace_hash": trace_hash,  # digits: not every reader of JSON knows 64 bits
        }
