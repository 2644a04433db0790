"""One machine after the other under the flood, and whether the VMM has stood it."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.flood.guest import BODIES, image
from vmm import Machine, Outcome
from vmm.console import StreamConsole
from vmm.seeing import Timeline

BOOT_ADDRESS = 0x7C00
_VCPUS = 2
_MEMORY = "1M"

#: How long one machine floods, and how much later than that it may end, in seconds. The latter is
#: for hosts that have other things to do.
SLICE_SECONDS = 1.0
GRACE_SECONDS = 5.0

#: How much the process may grow after its first round of guests, in bytes.
MOST_GROWTH = 48 << 20

_SAMPLE_SECONDS = 0.05

#: How a machine may end. An internal error is one that the guest has brought about: code where
#: there is no memory.
_ENDS = (
    Outcome.TIMEOUT,
    Outcome.EXIT_PORT,
    Outcome.RESET,
    Outcome.SHUTDOWN,
    Outcome.INTERNAL_ERROR,
    Outcome.ALL_HALTED,
)


def resident_bytes() -> int:
    """The physical memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _held() -> tuple[int, int]:
    """Threads and file descriptors of this process."""
    return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


class _Peak(threading.Thread):
    """Samples the resident memory while it is used as a context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = resident_bytes()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, resident_bytes())

    def __enter__(self) -> _Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@dataclass(slots=True)
class Findings:
    """What came of a flood. Times are in seconds, memory in bytes; `problems` is empty if all went
    well.
    """

    machines: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    printed: int = 0
    instructions: int = 0
    latest_end: float = 0.0
    resident_first: int = 0
    resident_peak: int = 0
    seconds: float = 0.0
    timeline_bytes: int = 0
    problems: list[str] = field(default_factory=list)


def flood(
    seconds: float, seed: int, slice_seconds: float = SLICE_SECONDS, only: str | None = None
) -> Findings:
    """Run machines for so long, one guest after the other, each for a slice.

    `seed` chooses what the guests do; `only` names one of them.
    """
    findings, chance = Findings(), random.Random(seed)
    names = list(BODIES) if only is None else [only]
    began = monotonic()
    flooded = 0
    while (left := began + seconds - monotonic()) > 0 or flooded < len(names):
        name = names[flooded % len(names)]
        _flood_once(name, chance.getrandbits(32), min(slice_seconds, max(left, 0.05)), findings)
        flooded += 1
        if flooded == len(names):  # libraries are loaded, pools are filled
            findings.resident_first = resident_bytes()
    findings.seconds = monotonic() - began
    growth = findings.resident_peak - findings.resident_first
    if growth > MOST_GROWTH:
        findings.problems.append(f"the process has grown by {growth:,} bytes")
    return findings


def _flood_once(name: str, seed: int, seconds: float, findings: Findings) -> None:
    def problem(what: str) -> None:
        findings.problems.append(f"guest {name}, seed {seed:#x}: {what}")

    before = _held()
    with tempfile.TemporaryDirectory() as folder:
        timeline = Path(folder) / "timeline.json"
        began = monotonic()
        try:
            _run(name, seed, seconds, findings, timeline, problem)
        except Exception as failure:
            problem(f"the VMM failed: {failure!r}")
        late = monotonic() - began - seconds
        findings.latest_end = max(findings.latest_end, late)
        if late > GRACE_SECONDS:
            problem(f"it ended {late:.1f} s late")
        gc.collect()  # a machine is a circle of references
        if _held() != before:
            problem("threads or file descriptors are left")
        findings.timeline_bytes += timeline.stat().st_size
        _check_timeline(timeline, problem)


def _check_timeline(path: Path, problem: Callable[[str], None]) -> None:
    """In a process of its own: a checked file takes more memory than the flood may."""
    command = [sys.executable, "-m", "tests.seeing.validator", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        problem(f"the timeline is not valid: {done.stderr}")


def _run(
    name: str,
    seed: int,
    seconds: float,
    findings: Findings,
    timeline: Path,
    problem: Callable[[str], None],
) -> None:
    """The machine: with input that never ends, and output that goes nowhere."""

    def count(data: bytes) -> None:
        findings.printed += len(data)

    code = image(name, seed)
    with Path("/dev/urandom").open("rb", buffering=0) as source, _Peak() as peak:
        machine = Machine(
            _MEMORY,
            _VCPUS,
            idle="exit" if name == "exits" else "fault",
            devices="pc",
            serial=StreamConsole(source.fileno()),
            console=count,
            observers=[Timeline(timeline)],
        )
        machine.memory.write(BOOT_ADDRESS, code)
        for vcpu in machine.vcpus:
            vcpu.start_real_mode(0, BOOT_ADDRESS)
        result = machine.run(timeout=seconds)
    findings.resident_peak = max(findings.resident_peak, peak.bytes)
    findings.machines[name] += 1
    findings.outcomes[result.outcome] += 1
    for share in result.vcpus:
        findings.exits.update(share.exits)
        findings.instructions += share.instructions
    if result.outcome not in _ENDS:
        problem(f"it ended by {result.outcome}: {result.explanation}")
    if result.outcome is Outcome.INTERNAL_ERROR and "no memory" not in result.explanation:
        problem(result.explanation)
