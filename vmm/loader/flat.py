"""Images without a header: flat ones, boot sectors and floppies. All start in real mode."""

from __future__ import annotations

from vmm.asm import BOOT_ADDRESS
from vmm.loader.errors import LoadError
from vmm.loader.guest import Format, Guest, RealModeStart, Segment
from vmm.loader.image import Image
from vmm.loader.quantities import REAL_MODE_END

_SECTOR = 512
_SIGNATURE_OFFSET, _SIGNATURE = 510, b"\x55\xaa"

#: The capacities of floppies, in KiB.
_FLOPPIES = (160, 180, 320, 360, 720, 1200, 1440, 1680, 2880)

#: What firmware leaves in DL for the boot sector: the first floppy drive.
_DRIVE = {"edx": 0}

_NO_FIRMWARE = (
    "There is no BIOS: INT 13h, which reads further sectors, and the other services are not there."
)


def parse_flat(image: Image, address: int) -> Guest:
    """An image that is loaded whole and starts at its first byte.

    The guest starts at 0:address in the first 64 KiB, and above at the segment address >> 4, where
    labels, which are linear addresses, no longer are offsets.
    """
    if address >= REAL_MODE_END:
        raise LoadError(f"{image.path}: a flat image starts in real mode, in the first MiB")
    cs, ip = (0, address) if address <= 0xFFFF else (address >> 4, address & 0xF)
    return Guest(
        image.path,
        Format.FLAT,
        image.size,
        RealModeStart(cs, ip),
        (Segment(address, image.size, 0, image.size),),
    )


def is_bootable(image: Image) -> bool:
    """Whether it has the size of a sector or floppy, and its first sector says so."""
    return _is_disk(image) and _has_signature(image)


def parse_disk(image: Image) -> Guest:
    """A boot sector, or a floppy image of which the first sector is loaded, as firmware does.

    Raises LoadError when it is none.
    """
    if not _is_disk(image):
        sizes = ", ".join(f"{capacity}K" for capacity in _FLOPPIES)
        raise LoadError(
            f"{image.path} has {image.size:,} bytes, which is no boot sector (512) and no floppy"
            f" ({sizes}): pad it, or call it .bin to have it loaded whole"
        )
    if not _has_signature(image):
        raise LoadError(
            f"{image.path} cannot be booted: its first sector does not end in 55 AA"
            " (bytes 510 and 511)"
        )
    return Guest(
        image.path,
        Format.BOOT_SECTOR if image.size == _SECTOR else Format.FLOPPY,
        image.size,
        RealModeStart(0, BOOT_ADDRESS, _DRIVE),
        (Segment(BOOT_ADDRESS, _SECTOR, 0, _SECTOR),),
        (_NO_FIRMWARE,),
    )


def _is_disk(image: Image) -> bool:
    return image.size == _SECTOR or image.size in [1024 * capacity for capacity in _FLOPPIES]


def _has_signature(image: Image) -> bool:
    return image.read(_SIGNATURE_OFFSET, len(_SIGNATURE)) == _SIGNATURE
