"""Something to be done at a steady rate, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self


class Periodic:
    """Calls `action` every `period` seconds while used as a context manager.

    Calls that come due while an earlier one is still busy are dropped, not made up for. An
    exception in `action` ends the calls, and comes out of the `with` block at its end.
    """

    def __init__(self, action: Callable[[], object], period: float, name: str) -> None:
        if not period > 0:
            raise ValueError(f"period must be more than 0 seconds, not {period}")
        self._action = action
        self._period = period
        self._closed = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _repeat(self) -> None:
        due = monotonic() + self._period
        while not self._closed.wait(max(0.0, due - monotonic())):
            try:
                self._action()
            except Exception as failure:  # it belongs to whoever opened the context
                self._failure = failure
                return
            due = max(due + self._period, monotonic())
