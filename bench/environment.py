"""What a measurement was made on, as far as a reader of the numbers needs it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Environment:
    """The host and the software. `cores` are those that this process may use."""

    cpu: str
    cores: int
    kernel: str
    python: str
    numpy: str
    command: str


def environment(command: str) -> Environment:
    """The present environment; `command` is what repeats the measurement."""
    return Environment(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        numpy=version("numpy"),
        command=command,
    )


def _cpu_model() -> str:
    for line in _CPUINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
