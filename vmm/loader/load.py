"""From a file to a guest: find out what it is, and put it into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from vmm.asm import BOOT_ADDRESS
from vmm.loader import elf, flat, multiboot, rom
from vmm.loader.boot_information import Module, write_boot_information
from vmm.loader.errors import LoadError
from vmm.loader.guest import Format, Guest
from vmm.loader.image import Image, image_of, open_image
from vmm.loader.quantities import parse_address
from vmm.loader.shipped import find
from vmm.loader.source import assemble_file, is_source
from x86core import MAX_MEMORY, Memory

_FLAT_SUFFIX = ".bin"
_DISK_SUFFIXES = (".img", ".ima", ".flp", ".vfd")
_ROM_SUFFIX = ".rom"


def describe(guest: str | Path, at: int | str | None = None, *, as_rom: bool = False) -> Guest:
    """What a guest is and needs; nothing but its headers is read. Parameters and errors are those
    of `load_guest`.
    """
    address = None if at is None else parse_address(at)
    with _open(guest, address, as_rom) as image:
        return _identify(image, address, as_rom)


def load_guest(
    guest: str | Path,
    memory: Memory,
    at: int | str | None = None,
    *,
    append: str = "",
    modules: Sequence[str] = (),
    as_rom: bool = False,
) -> Guest:
    """Put a guest into memory, which is as it was made; apply `Guest.start` to vCPUs to run it.

    `guest` is the bare name of a shipped guest, or a file: source in .S (GNU as) or .asm (nasm), a
    flat image in .bin, a ROM image in .rom, a boot sector or floppy image, an ELF32 executable or a
    Multiboot kernel. What is in a file decides, its name only where nothing else does. `as_rom`
    makes a ROM image of any file; the labels of a source then count from 0.

    `at` is the physical address for which source is assembled and at which a flat image is loaded,
    the boot sector's 0x7C00 if None. A ROM image ends at 1 MiB, and `Memory.rom` is set. A
    Multiboot kernel gets the command line `append` and `modules`, each "FILE" or "FILE ARGUMENTS";
    the kernel sees the strings as they are.

    Raises LoadError when the guest cannot be had or does not fit, and AssemblyError when source
    does not assemble.
    """
    address = None if at is None else parse_address(at)
    if address is not None and address >= memory.size:
        raise LoadError(
            f"load address {address:#x} is outside the guest's RAM, which ends at {memory.size:#x}:"
            " give a lower address or more memory"
        )
    with ExitStack() as files:
        image = files.enter_context(_open(guest, address, as_rom))
        found = _identify(image, address, as_rom)
        _check_room(found, memory)
        if found.format is Format.MULTIBOOT:
            loaded = [
                Module(text, files.enter_context(open_image(Path(text.split(" ")[0]), "module")))
                for text in modules
            ]
            information = write_boot_information(found, memory, append, loaded)
            registers = {**found.start.registers, "ebx": information}
            found = replace(found, start=replace(found.start, registers=registers))
        elif append or modules:
            raise LoadError(
                f"a command line and modules are for Multiboot kernels, and {found.path} is none"
                f" ({found.format}): leave them out"
            )
        for segment in found.segments:
            image.copy(segment.offset, segment.length, memory, segment.address)
        if found.format is Format.ROM:
            memory.rom = found.size
    return found


@contextmanager
def _open(guest: str | Path, at: int | None, as_rom: bool) -> Iterator[Image]:
    path = find(guest, at)
    if is_source(path):
        yield image_of(path, assemble_file(path, at, usual=0 if as_rom else BOOT_ADDRESS))
    else:
        with open_image(path) as image:
            yield image


def _identify(image: Image, at: int | None, as_rom: bool) -> Guest:
    """What an image is, by what is in it, then by its name; but a ROM only by what it is called."""
    suffix = image.path.suffix
    if as_rom or suffix == _ROM_SUFFIX:
        if at is not None:
            raise LoadError(f"{image.path} is a ROM, which ends at 1 MiB: leave out the address")
        return rom.parse_rom(image)
    is_elf = image.head(len(elf.MAGIC)) == elf.MAGIC
    # Before Multiboot: the first sectors of a floppy may belong to a kernel.
    if suffix in _DISK_SUFFIXES or (not is_elf and flat.is_bootable(image)):
        if at not in (None, BOOT_ADDRESS):
            raise LoadError(
                f"{image.path} is a boot sector or floppy, which starts at {BOOT_ADDRESS:#x}:"
                " leave out the address"
            )
        return flat.parse_disk(image)
    header = multiboot.find_header(image)
    if is_elf or header is not None:
        if at is not None and image.origin is None:
            raise LoadError(f"{image.path} says itself where it is loaded: leave out the address")
        return elf.parse_elf(image) if header is None else multiboot.parse_multiboot(image, header)
    if image.origin is not None:
        return flat.parse_flat(image, image.origin)
    if suffix == _FLAT_SUFFIX:
        return flat.parse_flat(image, BOOT_ADDRESS if at is None else at)
    raise LoadError(
        f"{image.path} is no guest that is known here: neither source (.S, .asm), nor an ELF32"
        " executable, a Multiboot kernel or a boot sector; call a flat image .bin and a ROM .rom"
    )


def _check_room(guest: Guest, memory: Memory) -> None:
    """Raises LoadError when a segment lies outside RAM."""
    for segment in guest.segments:
        if segment.end <= memory.size:
            continue
        what_to_do = "place it lower"
        if guest.format is Format.ELF:
            what_to_do = "link it lower, as with -Wl,-Ttext=0x100000 -Wl,--build-id=none"
        if guest.format is Format.ROM:
            what_to_do = f"give at least {guest.memory // 1024}K of memory"
        elif guest.memory <= MAX_MEMORY:
            what_to_do = f"give at least {guest.memory // 1024}K of memory, or {what_to_do}"
        raise LoadError(
            f"{guest.path} does not fit: it takes {segment.address:#x}-{segment.end:#x}, and RAM"
            f" ends at {memory.size:#x}: {what_to_do}"
        )
