"""What this VMM can do, as plain data: for `python -m vmm caps`, and for programs that ask."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vmm import kvm
from vmm.capability import EXTENSIONS
from vmm.cpuid import FEATURE_CHOICES, feature_flags, vendor
from vmm.idle import HLT_CHOICES, MWAIT_CHOICES, Choice
from vmm.loader import Format
from vmm.loader.source import GNU_SUFFIX, NASM_SUFFIX
from x86core import EXIT_NAMES, MAX_MEMORY, MAX_VCPUS
from x86core.isa import ROWS

#: Goes up when a field changes its meaning or goes away.
SCHEMA_VERSION = 1

#: Programs that guests of a kind need to be assembled; images need none.
_TOOLS: dict[str, tuple[str, ...]] = {
    f"GNU as source ({GNU_SUFFIX})": ("gcc", "ld"),
    f"nasm source ({NASM_SUFFIX})": ("nasm",),
    **{str(kind): () for kind in Format},
}

#: How a program is asked for its version, where it is not by this.
_VERSION_OPTION = {"nasm": "-v"}

_PACKAGES = ("x86core", "numpy", "click", "pyelftools", "capstone")


def inventory() -> dict[str, Any]:
    """All of it, in types that JSON knows. Memory is in bytes; a version is null where there is
    none.
    """
    usual = feature_flags()
    tools = {tool: _tool(tool) for tools in _TOOLS.values() for tool in tools}
    return {
        "schema": SCHEMA_VERSION,
        "versions": {
            "python": platform.python_version(),
            **{name: _package(name) for name in _PACKAGES},
            **tools,
        },
        "kvm_capabilities": [
            {"name": name, "number": getattr(kvm, name), "value": value}
            for name, value in EXTENSIONS.items()
        ],
        "exits": {name: number for number, name in sorted(EXIT_NAMES.items())},
        "idle": {"mwait": _choices(MWAIT_CHOICES), "hlt": _choices(HLT_CHOICES)},
        "cpuid": {
            "vendor": vendor().strip(),
            "features": usual,
            "optional": [
                {
                    "feature": feature,
                    "instructions": what,
                    "adds": [flag for flag in feature_flags((feature,)) if flag not in usual],
                }
                for feature, what in FEATURE_CHOICES.items()
            ],
        },
        "instructions": sorted({row.mnemonic for row in ROWS}),
        "limits": {"vcpus": MAX_VCPUS, "memory": MAX_MEMORY},
        "guests": [
            {
                "format": name,
                "tools": list(needed),
                "available": all(tools[tool] is not None for tool in needed),
            }
            for name, needed in _TOOLS.items()
        ],
    }


def _choices(choices: dict[str, Choice]) -> list[dict[str, Any]]:
    return [asdict(choice) for choice in choices.values()]


def _package(name: str) -> str | None:
    """The version of a Python package, None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _tool(name: str) -> str | None:
    """What a program says of its version, None when it is not on the PATH or does not run."""
    if shutil.which(name) is None:
        return None
    command = [name, _VERSION_OPTION.get(name, "--version")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _first_line(done.stdout.splitlines()) if done.returncode == 0 else None


def _first_line(lines: Iterable[str]) -> str | None:
    return next((line.strip() for line in lines if line.strip()), None)
