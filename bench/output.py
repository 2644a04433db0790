"""Results as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.environment import Environment

#: Goes up when a field changes its meaning or goes away.
SCHEMA_VERSION = 1


def document(benchmark: str, environment: Environment, **parts: Any) -> dict[str, Any]:
    """What is written: the schema's version, which benchmark, where it ran, then its own parts."""
    return {
        "schema": SCHEMA_VERSION,
        "benchmark": benchmark,
        "environment": asdict(environment),
        **parts,
    }


def write_whole(path: Path, contents: dict[str, Any]) -> None:
    """Put `contents` into a file as JSON, all or nothing. Raises OSError.

    What is no regular file, as a pipe or a device, is written to and not replaced.
    """
    if path.exists() and not path.is_file():
        path.write_text(json.dumps(contents, indent=2) + "\n")
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(contents, indent=2) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
