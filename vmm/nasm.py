"""Assemble a guest in NASM's language to a flat binary image."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from vmm.asm import BOOT_ADDRESS, GUESTS, Assembly, AssemblyError, run_tool

_ORIGIN = re.compile(r"-- Program origin -+\s+([0-9A-F]+)")


def assembly(source: Path, *, origin: int | None = None) -> Assembly:
    """The flat image of a .asm file, by nasm, for the address that its ORG names.

    Without an ORG its labels count from 0 and it is meant for any address: for `origin`, the boot
    sector's 0x7C00 if None. `%include` and `incbin` look in the working directory, beside the file,
    and among the shipped guests.

    Raises AssemblyError with nasm's message, when nasm is not installed, and when the ORG is not
    `origin`.
    """
    name = f"./{source}" if str(source).startswith("-") else str(source)
    search = [f"-I{source.absolute().parent}/", f"-I{GUESTS}/"]
    with tempfile.TemporaryDirectory(prefix="assemble-") as folder:
        image, listing, origins = (Path(folder, each) for each in ("guest.bin", "guest.lst", "map"))
        # nasm tells the origin nowhere but in a map.
        Path(folder, "first.inc").write_text(f"[map segments {origins}]\n")
        command = ["nasm", "-f", "bin", *search, "-P", f"{folder}/first.inc"]
        warnings = run_tool([*command, "-l", str(listing), "-o", str(image), name])
        org = _ORIGIN.search(origins.read_text(errors="replace"))
        assert org is not None
        address = int(org[1], 16) or (BOOT_ADDRESS if origin is None else origin)
        if origin is not None and address != origin:
            raise AssemblyError(
                f"{source} says ORG {address:#x}, and is to be loaded at {origin:#x}: change one"
            )
        listed = listing.read_text(errors="replace").rstrip("\n")
        return Assembly(image.read_bytes(), address, listed, warnings)
