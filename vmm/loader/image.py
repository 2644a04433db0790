"""The bytes of a guest or a module: an open file, or what a source was assembled to."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vmm.asm import Assembly
from vmm.loader.errors import LoadError
from x86core import Memory

#: Bytes that are on the way from a file into the guest's memory at a time.
_CHUNK = 1 << 20

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Image:
    """`size` bytes, read by offset and never more than asked for.

    `path` is the file, or its source; `origin` the address that this was assembled for. Raises
    LoadError when there are no bytes.
    """

    def __init__(self, path: Path, stream: BinaryIO, origin: int | None = None) -> None:
        self.path = path
        self.stream = stream
        self.origin = origin
        self.size = stream.seek(0, os.SEEK_END)
        if not self.size:
            raise LoadError(f"{path} is empty: there is nothing to load")

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on. Raises LoadError when the image ends before."""
        self.stream.seek(offset)
        data = self.stream.read(length)
        if len(data) < length:
            raise LoadError(
                f"{self.path} ends before byte {offset + length}: it is cut short, or was while"
                " it was loaded"
            )
        return data

    def head(self, length: int) -> bytes:
        """The first `length` bytes, or all if there are less."""
        return self.read(0, min(length, self.size))

    def copy(self, offset: int, length: int, memory: Memory, address: int) -> None:
        """Put `length` bytes from `offset` on to a physical address."""
        for done in range(0, length, _CHUNK):
            memory.write(address + done, self.read(offset + done, min(_CHUNK, length - done)))


def image_of(path: Path, assembly: Assembly) -> Image:
    """What a source was assembled to."""
    return Image(path, io.BytesIO(assembly.image), assembly.origin)


@contextmanager
def open_image(path: Path, what: str = "guest") -> Iterator[Image]:
    """A file; `what` is what messages call it.

    Raises LoadError when it cannot be read, is empty, or is no regular file.
    """
    with explained(path, what), open(_descriptor(path, what), "rb") as stream:
        yield Image(path, stream)


def require_file(path: Path) -> None:
    """Raises LoadError when a guest cannot be opened or is no regular file."""
    with explained(path):
        os.close(_descriptor(path, "guest"))


@contextmanager
def explained(path: Path, what: str = "guest") -> Iterator[None]:
    """Makes a LoadError of an OSError."""
    try:
        yield
    except OSError as error:
        raise LoadError(f"cannot read {what} {path}: {error.strerror}") from None


def _descriptor(path: Path, what: str) -> int:
    """A descriptor of a regular file, without waiting for the other end of a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise LoadError(f"cannot read {what} {path}: it is {_KINDS[kind]}, give a file")
    return descriptor
