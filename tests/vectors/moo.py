"""Reader of the MOO format: single-instruction tests, several to a file.

A file is a sequence of chunks: a tag of 4 ASCII bytes, a little-endian length, the payload. That
of `TEST` holds chunks in turn, and so do `INIT` and `FINA` in it. A folder of such files comes with
`flags-mask.json`, which says for each file which flags its instruction defines.
"""

from __future__ import annotations

import json
import lzma
import struct
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: The order of the bits in the mask of a `REGS` chunk.
REGISTERS = (
    *("ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di"),
    *("ip", "flags"),
)

MASK_FILE = "flags-mask.json"


class MooError(ValueError):
    """What was given is no set of MOO files; the message says which part and why."""


@dataclass(frozen=True, slots=True)
class State:
    """Registers by name and bytes by physical address. A final state lists only what changed."""

    registers: dict[str, int]
    memory: dict[int, int]


@dataclass(frozen=True, slots=True)
class Capture:
    """One instruction as the processor executed it, with the HLT behind it."""

    index: int
    code: bytes
    initial: State
    final: State
    #: Number of the exception that was taken, if any.
    exception: int | None

    @property
    def pushed_flags(self) -> tuple[int, int] | None:
        """The addresses of the flags word that the exception pushed, if one was taken.

        Worked out from the final stack: the file's own address is rounded down to an even one.
        """
        if self.exception is None:
            return None
        registers = self.initial.registers | self.final.registers
        base, offset = registers["ss"] << 4, registers["sp"] + 4
        return base + (offset & 0xFFFF), base + (offset + 1 & 0xFFFF)


@dataclass(frozen=True, slots=True)
class CaptureFile:
    """The captures of one opcode form."""

    name: str
    flags_mask: int
    captures: tuple[Capture, ...]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise MooError(f"{len(data) - offset} bytes are left behind the last chunk")
        tag, length = struct.unpack_from("<4sI", data, offset)
        offset += 8
        if offset + length > len(data):
            raise MooError(f"chunk {tag!r} says {length} bytes, {len(data) - offset} are left")
        yield tag, data[offset : offset + length]
        offset += length


def _state(data: bytes) -> State:
    registers: dict[str, int] = {}
    memory: dict[int, int] = {}
    for tag, body in _chunks(data):
        if tag == b"REGS":
            mask, *values = struct.unpack(f"<{len(body) // 2}H", body)
            names = [name for bit, name in enumerate(REGISTERS) if mask >> bit & 1]
            registers = dict(zip(names, values, strict=True))
        elif tag == b"RAM ":
            (count,) = struct.unpack_from("<I", body)
            memory = dict(struct.iter_unpack("<IB", body[4:]))
            if len(body) != 4 + 5 * count:
                raise MooError(f"chunk 'RAM ' says {count} bytes and holds {len(body) // 5}")
    return State(registers, memory)


def _capture(data: bytes) -> Capture:
    (index,) = struct.unpack_from("<I", data)
    parts = dict(_chunks(data[4:]))
    code = parts[b"BYTS"][4:]
    exception = parts[b"EXCP"][0] if b"EXCP" in parts else None
    return Capture(index, code, _state(parts[b"INIT"]), _state(parts[b"FINA"]), exception)


def read(data: bytes, name: str = "?", flags_mask: int = 0xFFF) -> CaptureFile:
    """Parse one file. Raises MooError when it is damaged or something else."""
    count = None
    captures = []
    try:
        for tag, body in _chunks(data):
            if tag == b"MOO ":
                (count,) = struct.unpack_from("<4xI", body)
            elif tag == b"TEST" and count is not None:
                captures.append(_capture(body))
            elif count is None:
                raise MooError("it does not begin with a 'MOO ' chunk")
    except KeyError as error:
        raise MooError(f"{name}: test {len(captures)} has no chunk {error}") from error
    except (MooError, struct.error, IndexError, ValueError) as error:
        raise MooError(f"{name}: test {len(captures)}: {error}") from error
    if count != len(captures):
        raise MooError(f"{name}: the header says {count} tests, {len(captures)} are there")
    return CaptureFile(name, flags_mask, tuple(captures))


def _members(path: Path) -> dict[str, bytes]:
    """The files that matter in a folder or archive, by name."""

    def wanted(name: str) -> bool:
        return name.endswith(".moo") or name == MASK_FILE

    if path.is_dir():
        return {entry.name: entry.read_bytes() for entry in path.iterdir() if wanted(entry.name)}
    members = {}
    with tarfile.open(path, "r:xz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is not None and wanted(name := PurePosixPath(member.name).name):
                members[name] = content.read()
    return members


def load(path: Path, only: Collection[str] = ()) -> Iterator[CaptureFile]:
    """The files of a folder or .tar.xz, by name, read as they are asked for.

    `only` keeps the files with these names ("80.4") and the groups with these opcodes ("80").
    Raises MooError when `path` is neither, is damaged, lacks something, or has nothing to keep.
    """
    if not path.exists():
        raise MooError(f"{path}: there is no such folder or archive")
    try:
        members = _members(path)
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise MooError(
            f"{path}: neither a folder nor a .tar.xz that can be read: {error}"
        ) from error
    if MASK_FILE not in members:
        raise MooError(f"{path}: {MASK_FILE} is missing; it says which flags are defined")
    try:
        masks: dict[str, int] = json.loads(members.pop(MASK_FILE))
    except ValueError as error:
        raise MooError(f"{path}: {MASK_FILE} is no JSON: {error}") from error
    names = sorted(name.removesuffix(".moo") for name in members)
    if not names:
        raise MooError(f"{path}: no .moo file in it")
    for wish in only:
        if not any(_selects(wish, name) for name in names):
            raise MooError(f"{path}: no file {wish}.moo or {wish}.N.moo in it")
    for name in names:
        if not only or any(_selects(wish, name) for wish in only):
            if name not in masks:
                raise MooError(f"{path}: {MASK_FILE} has no entry for {name}")
            yield read(members[f"{name}.moo"], name, masks[name])


def _selects(wish: str, name: str) -> bool:
    return name.upper() == wish.upper() or name.upper().startswith(f"{wish.upper()}.")
