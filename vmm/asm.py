"""Assemble a guest: GNU as source, through the C preprocessor, to a flat binary image.

Needs gcc and ld on the PATH and nothing else; this module imports nothing of the project, so that
the build can use it before the compiled core exists.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: Where a PC's firmware puts a boot sector, and so where a guest's image starts unless told
#: otherwise.
BOOT_ADDRESS = 0x7C00

GUESTS = Path(__file__).resolve().parent / "guests"

#: Everything that occupies memory, in one piece: a flat image has no headers that could place
#: sections apart, and .bss must be zeros in the file. Gaps are NOPs, because the guest starts at
#: the first byte and code that is aligned more than the origin is comes after such a gap.
_LINKER_SCRIPT = """
SECTIONS
{
    .image %#x : {
        *(.text .text.*) *(.rodata .rodata.*) *(.data .data.*) *(.bss .bss.* COMMON)
    } = 0x90909090
    /DISCARD/ : { *(.note .note.* .comment .eh_frame) }
}
"""

#: What the linker says of the object file, which is no name that the user knows.
_OWN_FILES = re.compile(r"^ld: |guest\.o:( in function .*\n)?", re.MULTILINE)


class AssemblyError(ValueError):
    """The source does not assemble or link; the text is the tool's message with file and line."""


def assemble(
    source: str | Path, *, origin: int = BOOT_ADDRESS, include: Sequence[Path] = ()
) -> bytes:
    """The flat image of a guest, to be loaded at the address `origin`.

    `source` is source text when it is a str, and a .S file when it is a Path. `#include`,
    `.include` and `.incbin` look beside the file, then in the folders of `include`, then among the
    shipped guests.

    Raises AssemblyError with the assembler's or linker's message, and OSError when the file cannot
    be read.
    """
    if isinstance(source, Path):
        name, text = str(source), source.read_bytes()
        folders = [source.absolute().parent, *include, GUESTS]
    else:
        name, text = "<source>", source.encode()
        folders = [*include, GUESTS]
    # The line marker makes every message name the user's file although gcc reads a pipe.
    marker = '#line 1 "{}"\n'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    compiler = [
        "gcc",
        "-m32",
        "-c",
        "-g",
        "-fno-diagnostics-show-caret",
        "-x",
        "assembler-with-cpp",
    ]
    search = [f"-I{Path(each).absolute()}" for each in folders]
    linker = ["ld", "-m", "elf_i386", "--oformat", "binary", "-e", "0", "-T", "flat.ld"]
    with tempfile.TemporaryDirectory(prefix="assemble-") as folder:
        Path(folder, "flat.ld").write_text(_LINKER_SCRIPT % origin)
        _tool([*compiler, *search, "-o", "guest.o", "-"], folder, marker.encode() + text)
        _tool([*linker, "-o", "guest.bin", "guest.o"], folder)
        return Path(folder, "guest.bin").read_bytes()


def _tool(command: list[str], folder: str, standard_input: bytes = b"") -> None:
    """Run gcc or ld in `folder`; its complaint becomes an AssemblyError."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            input=standard_input,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise AssemblyError(
            f"{command[0]} is not on the PATH: assembling a guest needs gcc and binutils;"
            " install them, or give an assembled flat image (.bin)"
        ) from None
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").replace(f"{folder}/", "")
        raise AssemblyError(_OWN_FILES.sub("", message).strip())
