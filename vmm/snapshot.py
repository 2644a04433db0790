"""The file that a machine is saved in: written whole or not at all, and refused unless it is whole.

    offset  size  what
    0       8     89 "X86VM" CR LF
    8       4     version
    12      4     bytes of the description
    16      4     vCPUs
    20      4     bytes of each vCPU's state
    24      8     pages
    32      32    SHA-256 of bytes 0-31 and of all that follows byte 63
    64            description: JSON
                  the states of the vCPUs, by `VCPU.save`
                  the numbers of the pages that are not all zeros, 4 bytes each, ascending
                  the pages, 4 KiB each

Numbers are little-endian. Pages are not compressed: it would take longer than the rest together.
The checksum finds damage. It is no signature, so whoever takes the parts over checks them too.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x86core import MAX_MEMORY, MAX_VCPUS, Memory

VERSION = 1

PAGE_SIZE = 4096

_MAGIC = b"\x89X86VM\r\n"
_HEADER = struct.Struct("<8sIIIIQ")
_DIGEST_SIZE = 32


class SnapshotError(ValueError):
    """A machine cannot be saved in a file, or restored from it; the message says why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the file holds. `numbers` and `pages` have the shapes (n,) and (n, 4096). `path` is the
    file that it was read from, "" for none.
    """

    description: dict[str, Any]
    vcpus: tuple[bytes, ...]
    numbers: NDArray[np.uint32]
    pages: NDArray[np.uint8]
    path: str = ""


def used_pages(memory: Memory) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The numbers of the pages that are not all zeros, and those pages."""
    numbers = memory.pages_in_use()
    return numbers, memory.view().reshape(-1, PAGE_SIZE)[numbers]


def write_pages(memory: Memory, snapshot: Snapshot) -> None:
    """Put the pages into RAM that is all zeros, runs of neighbours at a time."""
    numbers = snapshot.numbers.astype(np.int64)
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    for first, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        memory.write(int(numbers[first]) * PAGE_SIZE, snapshot.pages[first:end].reshape(-1).data)


def write_snapshot(path: str | Path, snapshot: Snapshot) -> None:
    """Write the file; one of that name is replaced when the new one is safe on the disk.

    Raises SnapshotError when it cannot be written; what was there before stays.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            try:
                for part in _parts(snapshot):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink()
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise SnapshotError(f"cannot save the machine in {path}: {error.strerror}") from None


def read_snapshot(path: str | Path) -> Snapshot:
    """Read the file. Raises SnapshotError when it cannot be read, is damaged or of another kind."""
    try:
        with Path(path).open("rb") as file:
            header, digest = file.read(_HEADER.size), file.read(_DIGEST_SIZE)
            if not header.startswith(_MAGIC):
                raise SnapshotError(f"{path} is not a saved machine")
            body = memoryview(file.read())
    except OSError as error:
        raise SnapshotError(f"cannot read {path}: {error.strerror}") from None
    if len(digest) < _DIGEST_SIZE:
        raise SnapshotError(f"{path} is cut off: save the machine again")
    return _parse(path, header, digest, body)


def _parse(path: str | Path, header: bytes, digest: bytes, body: memoryview) -> Snapshot:
    _, version, description_size, vcpus, state_size, pages = _HEADER.unpack(header)
    if version != VERSION:
        raise SnapshotError(
            f"{path} is of version {version}, and this program reads version {VERSION}"
        )
    size = description_size + vcpus * state_size + pages * (4 + PAGE_SIZE)
    if len(body) < size:
        raise SnapshotError(f"{path} is cut off: save the machine again")
    checksum = hashlib.sha256(header)
    checksum.update(body)
    if len(body) != size or checksum.digest() != digest:
        raise SnapshotError(f"{path} is damaged: save the machine again")
    if not 1 <= vcpus <= MAX_VCPUS or pages * PAGE_SIZE > MAX_MEMORY:
        raise SnapshotError(f"{path} holds no machine: its sizes cannot be")
    description = _parse_description(path, bytes(body[:description_size]))
    at = description_size
    ends = range(at, at + vcpus * state_size, state_size) if state_size else [at] * vcpus
    states = tuple(bytes(body[first : first + state_size]) for first in ends)
    at += vcpus * state_size
    numbers = np.frombuffer(body, "<u4", pages, at)
    if np.any(np.diff(numbers.astype(np.int64)) <= 0):
        raise SnapshotError(f"{path} holds no machine: its pages are not in order")
    contents = np.frombuffer(body, np.uint8, pages * PAGE_SIZE, at + 4 * pages)
    return Snapshot(description, states, numbers, contents.reshape(-1, PAGE_SIZE), str(path))


def _parse_description(path: str | Path, text: bytes) -> dict[str, Any]:
    try:
        description = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise SnapshotError(f"{path} holds no machine: its description is no JSON") from None
    if not isinstance(description, dict):
        raise SnapshotError(f"{path} holds no machine: its description is no object")
    return description


def _parts(snapshot: Snapshot) -> Iterator[bytes]:
    """The file in order."""
    description = json.dumps(snapshot.description).encode()
    header = _HEADER.pack(
        _MAGIC,
        VERSION,
        len(description),
        len(snapshot.vcpus),
        len(snapshot.vcpus[0]),
        len(snapshot.numbers),
    )
    numbers = snapshot.numbers.astype("<u4").tobytes()
    body = (description, *snapshot.vcpus, numbers, snapshot.pages.tobytes())
    digest = hashlib.sha256(header)
    for part in body:
        digest.update(part)
    yield header
    yield digest.digest()
    yield from body


def _sync_folder(folder: Path) -> None:
    """Have the new name of the file on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
