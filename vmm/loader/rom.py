"""ROM images: firmware, or what is in its place, where processors begin after RESET."""

from __future__ import annotations

from vmm.loader.errors import LoadError
from vmm.loader.guest import PAGE, Format, Guest, ResetStart, Segment
from vmm.loader.image import Image
from x86core import MAX_ROM, ROM_END


def parse_rom(image: Image) -> Guest:
    """An image that ends at 1 MiB, and again at 4 GiB: the reset vector is in its last 16 bytes.

    Raises LoadError when its size is no ROM's.
    """
    if image.size % PAGE or image.size > MAX_ROM:
        raise LoadError(
            f"{image.path} has {image.size:,} bytes, which is no ROM: one has a multiple of"
            f" {PAGE:,}, up to {MAX_ROM // 1024}K; pad it at its beginning, for it ends at 1 MiB"
        )
    return Guest(
        image.path,
        Format.ROM,
        image.size,
        ResetStart(),
        (Segment(ROM_END - image.size, image.size, 0, image.size),),
        (f"also at {(1 << 32) - image.size:#010x}, below 4 GiB; nothing can be written to either",),
    )
