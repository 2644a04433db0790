"""The file that a sweep under way writes: what is in it is finished, and nothing of it is lost."""

from __future__ import annotations

import fcntl
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Header, Result, recover, write_results


class Store:
    """The results of one sweep, which no other process may write at the same time."""

    def __init__(self, path: Path, header: Header, file: int, results: Iterable[Result]) -> None:
        self.path = path
        self.header = header
        self.finished = {result.point.key: result for result in results}
        self._file = file

    def append(self, results: Sequence[Result]) -> None:
        """Put them at the file's end and on the disk. Raises OSError."""
        _write(self._file, "".join(result.line() for result in results).encode())
        self.finished.update((result.point.key, result) for result in results)

    def sort(self, points: Iterable[Point]) -> None:
        """Put the finished ones into the order of `points`, all or nothing. Raises OSError."""
        keys = [key for point in points if (key := point.key) in self.finished]
        if keys != list(self.finished):
            self.finished = {key: self.finished[key] for key in keys}
            write_results(self.path, self.header, self.finished.values())


@contextmanager
def opened(path: Path, sweep: str, header: Header, points: Iterable[Point]) -> Iterator[Store]:
    """The file at `path`, made when it is not there, to be written by nobody else meanwhile.

    What a killed sweep has left there is gone on with. Raises LaboratoryError, with the file as it
    was, when another process writes it, or when it holds something else than results of the sweep
    that is named `sweep` in messages.
    """
    file = _locked(path)
    try:
        begun = header.line().encode()
        data = os.pread(file, len(begun), 0)
        if b"\n" not in data and begun.startswith(data):  # new, or killed in its first line
            os.ftruncate(file, 0)
            _write(file, begun)
        recorded, results = recover(path)
        _check_same(path, sweep, header, recorded)
        known = {point.key for point in points}
        if any(result.point.key not in known for result in results):
            raise LaboratoryError(
                f"{path} holds points that {sweep} has not: it was begun by another version of"
                " this program"
            )
        yield Store(path, recorded, file, results)
    finally:
        os.close(file)


def _check_same(path: Path, sweep: str, header: Header, recorded: Header) -> None:
    """Comments and spacing may differ, and the command: what is run and where may not."""
    try:
        same = tomllib.loads(recorded.sweep) == tomllib.loads(header.sweep)
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise LaboratoryError(f"{path} holds results of another sweep than {sweep}")
    there, here = recorded.environment, header.environment
    if changes := [
        f"{name} was {there.get(name)!r} and is {here.get(name)!r}"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]:
        raise LaboratoryError(f"{path} was begun under other conditions: {'; '.join(changes)}")


def _locked(path: Path) -> int:
    """A descriptor of the file at `path` that holds its lock."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise LaboratoryError(f"cannot write {path}: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise LaboratoryError(f"cannot write {path}: it is no regular file")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
                return file
        except BlockingIOError:
            os.close(file)
            raise LaboratoryError(f"another process is writing {path}") from None
        except LaboratoryError:
            os.close(file)
            raise
        os.close(file)  # the other sweep has just put its sorted file in this one's place


def _write(file: int, data: bytes) -> None:
    """All of it, and on the disk. Raises OSError."""
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)
