"""Which CPUs of the host a measurement runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pinned() -> Iterator[int | None]:
    """Keep this thread, and those that it starts, on the last CPU that it may use.

    Gives the CPU's number, or None where the host does not allow it.
    """
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:
        yield None
        return
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, allowed)
