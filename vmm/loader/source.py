"""Guests that are source text: which assembler a file is for."""

from __future__ import annotations

from pathlib import Path

from vmm import asm, nasm
from vmm.asm import BOOT_ADDRESS, Assembly
from vmm.loader.errors import LoadError
from vmm.loader.image import explained, require_file

GNU_SUFFIX, NASM_SUFFIX = ".S", ".asm"


def is_source(path: Path) -> bool:
    """Whether a file of this name is assembled."""
    return path.suffix in (GNU_SUFFIX, NASM_SUFFIX)


def assemble_file(path: Path, at: int | None = None, *, usual: int = BOOT_ADDRESS) -> Assembly:
    """The flat image of a .S file, by GNU as, or of a .asm file, by nasm, for the address `at`.

    None is `usual`, and for nasm what the source's ORG says.

    Raises AssemblyError when the source does not assemble, LoadError when it cannot be read or is
    none.
    """
    if not is_source(path):
        raise LoadError(f"{path} is no source: give a {GNU_SUFFIX} or {NASM_SUFFIX} file")
    require_file(path)
    with explained(path):
        if path.suffix == NASM_SUFFIX:
            return nasm.assembly(path, origin=at)
        return asm.assembly(path, origin=usual if at is None else at)
