"""A file of trace events, written as they come.

Source: Chrome's Trace Event Format, its JSON object form, which ui.perfetto.dev and
chrome://tracing open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from typing import Any

_BEGINNING = b'{"displayTimeUnit":"ns","traceEvents":[\n'


class TimelineError(ValueError):
    """A timeline cannot be written; the message says why."""


class TraceFile:
    """A file that is valid JSON once `finish` was called, or writing has failed.

    It is opened at once, and what it held is gone with `begin`. Raises TimelineError when it cannot
    be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._failure(error) from None
        self._regular = S_ISREG(os.fstat(self._file).st_mode)
        self._separator = b""
        self._size = 0  # of what is whole

    def begin(self) -> None:
        """Write the beginning. Raises TimelineError, as `add` and `finish` do."""
        if self._regular:
            os.ftruncate(self._file, 0)
        self._write(_BEGINNING)

    def add(self, events: Iterable[str]) -> None:
        """Append events, each a JSON object. Raises TimelineError when there is no room, say."""
        text = ",\n".join(events).encode()
        if text:
            self._write(self._separator + text)
            self._separator = b",\n"

    def finish(self, **other: Any) -> None:
        """Complete the file, with `other` data beside the events, and close it."""
        if self._file < 0:
            return
        self._write(_end(other))
        self._close()

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            return
        try:
            self._put(data)
        except OSError as error:
            self._mend()
            raise self._failure(error) from None
        self._size += len(data)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]

    def _mend(self) -> None:
        """Complete what is there: the part that was not written whole makes room for the end."""
        try:
            if self._regular and self._size:
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
                self._put(_end({"truncated": True}))
        except OSError:
            pass  # there is not even room for that; the message says that writing failed
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._file)
        self._file = -1

    def _failure(self, error: OSError) -> TimelineError:
        return TimelineError(f"cannot write the timeline to {self.path}: {error.strerror}")


def _end(other: dict[str, Any]) -> bytes:
    return b'\n],"otherData":' + json.dumps(other).encode() + b"}\n"
