"""Assemble a guest: GNU as source, through the C preprocessor, to a flat binary image.

Needs gcc and ld on the PATH and nothing else; this module imports nothing of the project, so that
the build can use it before the compiled core exists.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

#: Where a PC's firmware puts a boot sector, and so where a guest's image starts unless told
#: otherwise.
BOOT_ADDRESS = 0x7C00

GUESTS = Path(__file__).resolve().parent / "guests"

#: What an assembler or linker may use, so that a slip such as `.skip 0x7FFFFFFF` ends in a message
#: and not in a full disk: bytes of a file, bytes of address space, seconds.
_LIMITS = {
    resource.RLIMIT_FSIZE: 256 << 20,
    resource.RLIMIT_AS: 1 << 30,
    resource.RLIMIT_CPU: 10,
}

#: What to install for a tool.
_PACKAGES = {"gcc": "gcc", "ld": "binutils", "nasm": "nasm"}

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

#: What the tools say of the object file, which is no name that the user knows.
_OWN_FILES = re.compile(r"^ld: |guest\.o:( in function .*\n)?", re.MULTILINE)

#: What gcc says in the middle of much else when its assembler did not end by itself.
_KILLED = "signal terminated program"

#: A line of the listing, and one where the preprocessor notes which line of a file comes next.
_LISTED = re.compile(r" *(\d+)( .*)")
_MARKER = re.compile(r' *(\d+) +\t# (\d+) ".*')


#: What ld says of a symbol that a 16-bit field cannot hold.
_TOO_FAR = "relocation truncated to fit: R_386_16"


class AssemblyError(ValueError):
    """The source does not assemble or link; the text is the tool's message with file and line."""


class Assembly(NamedTuple):
    """What an assembler made: the image, for the address `origin`, and what it said of it.

    Offsets in the listing count from the start of a section; addresses are not filled in yet.
    """

    image: bytes
    origin: int
    listing: str
    warnings: str


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
    return assembly(source, origin=origin, include=include).image


def assembly(
    source: str | Path, *, origin: int = BOOT_ADDRESS, include: Sequence[Path] = ()
) -> Assembly:
    """As `assemble`, with the listing and the warnings."""
    if isinstance(source, Path):
        name, text = str(source), source.read_bytes()
        folders = [source.absolute().parent, *include, GUESTS]
    else:
        name, text = "<source>", source.encode()
        folders = [*include, GUESTS]
    # The line marker makes every message name the user's file although gcc reads a pipe.
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    compiler = [
        "gcc",
        "-m32",
        "-c",
        "-g",
        "-fno-diagnostics-show-caret",
        "-Wa,-aln=guest.lst",
        "-x",
        "assembler-with-cpp",
    ]
    search = [f"-I{Path(each).absolute()}" for each in folders]
    linker = ["ld", "-m", "elf_i386", "--oformat", "binary", "-e", "0", "-T", "flat.ld"]
    with tempfile.TemporaryDirectory(prefix="assemble-") as folder:
        Path(folder, "flat.ld").write_text(_LINKER_SCRIPT % origin)
        marked = os.fsencode(f'#line 1 "{quoted}"\n') + text
        warnings = run_tool([*compiler, *search, "-o", "guest.o", "-"], folder, marked)
        run_tool([*linker, "-o", "guest.bin", "guest.o"], folder)
        listing = Path(folder, "guest.lst").read_text(errors="replace")
        image = Path(folder, "guest.bin").read_bytes()
    return Assembly(image, origin, "\n".join(_renumbered(listing)), warnings)


def _renumbered(listing: str) -> Iterator[str]:
    """The listing with the numbers that lines have in their files, not behind the preprocessor."""
    shift = 0
    for line in listing.splitlines():
        if marker := _MARKER.fullmatch(line):
            shift = int(marker[2]) - int(marker[1]) - 1
        elif listed := _LISTED.fullmatch(line):
            yield f"{int(listed[1]) + shift:4}{listed[2]}"


def run_tool(command: Sequence[str], folder: str | None = None, standard_input: bytes = b"") -> str:
    """Run an assembler or linker in `folder`; what it said.

    Raises AssemblyError with its complaint when it fails, and when it is not installed.
    """
    # A library that is preloaded for Python, such as a sanitizer, is not for the tools.
    environment = {**os.environ, "LC_ALL": "C", "LD_PRELOAD": ""}
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise AssemblyError(
            f"{command[0]} is not on the PATH: assembling a guest needs {_PACKAGES[command[0]]};"
            " install it, or give an assembled flat image (.bin)"
        ) from None
    with process:
        _limit(process.pid)
        _, complaint = process.communicate(standard_input)
    said = complaint.decode(errors="replace")
    said = _OWN_FILES.sub("", said.replace(f"{folder}/", "") if folder else said).strip()
    if process.returncode < 0 or _KILLED in said:
        raise AssemblyError(f"{command[0]} takes too much time, memory or disk for this source")
    if process.returncode != 0:
        if _TOO_FAR in said:
            said += (
                "\nWhere it is to be loaded its addresses do not fit into 16 bits: load it lower."
            )
        raise AssemblyError(said)
    return said


def _limit(process: int) -> None:
    for limit, most in _LIMITS.items():
        _, hard = resource.prlimit(process, limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(process, limit, (most, most))
