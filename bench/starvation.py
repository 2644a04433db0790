"""Whether a thread of this process waits for a CPU of the host.

On a busy host one that has been woken may not run for longer than anybody's patience.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

#: Where proc(5) has the state and the CPU time in user and kernel mode, behind the thread's name.
_STATE = 0
_TIMES = slice(11, 13)


class Starvation:
    """Watches a thread, whose ID `native_id` gives when it is needed.

    The host counts CPU time in steps of 10 ms; between two of them, a thread that runs passes for
    one that does not.
    """

    def __init__(self, native_id: Callable[[], int | None]) -> None:
        self._native_id = native_id
        self._times: list[str] = []

    def __call__(self) -> bool:
        """Whether the thread is ready to run, and has not run since the last call."""
        try:
            text = Path(f"/proc/self/task/{self._native_id()}/stat").read_text()
        except OSError:  # it has ended
            return False
        fields = text.rpartition(")")[2].split()
        before, self._times = self._times, fields[_TIMES]
        return fields[_STATE] == "R" and self._times == before
