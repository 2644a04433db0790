"""The commands that look at guests and make them: `python -m vmm info` and `python -m vmm asm`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from vmm.asm import AssemblyError
from vmm.cli.firmware import rom_option
from vmm.loader import (
    Guest,
    LoadError,
    assemble_file,
    describe,
    parse_address,
)
from vmm.output import BadInput, stdout_of


@click.command()
@click.argument("guest", metavar="FILE")
@rom_option
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def info(context: click.Context, guest: str, as_rom: bool, as_json: bool) -> None:
    """Say what FILE is and what it needs to run: its format, where it starts, in which mode, and
    how much memory it takes.

    FILE is all that `run` takes: source (.S, .asm), a flat image (.bin), a ROM image (.rom), a boot
    sector or floppy image, an ELF32 executable, a Multiboot kernel, or the name of a shipped guest.

    \b
    Examples:
      python -m vmm info hello
      python -m vmm info kernel.elf --json
      python -m vmm info bios.bin --rom
    """
    try:
        described = describe(guest, as_rom=as_rom)
    except (AssemblyError, LoadError) as error:
        raise BadInput(str(error)) from None
    with stdout_of(context):
        if as_json:
            click.echo(json.dumps(described.as_dict(), indent=2))
        else:
            click.echo("\n".join(_lines(described)))


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="The file for the image.",
)
@click.option(
    "--at",
    metavar="ADDRESS",
    help="Physical address in the first MiB where the image will be loaded."
    "  [default: 0x7C00, or what ORG says in a .asm file]",
)
@click.option("--listing", is_flag=True, help="Print the assembler's listing.")
@click.pass_context
def asm(context: click.Context, source: Path, output: Path, at: str | None, listing: bool) -> None:
    """Assemble FILE to a flat image, as `run` does: a .S file by GNU as, a .asm file by nasm.

    Offsets in the listing count from the start of a section.

    \b
    Examples:
      python -m vmm asm boot.S -o boot.bin
      python -m vmm asm boot.S -o boot.bin --at 0x8000
      python -m vmm asm boot.asm -o boot.bin --listing
    """
    try:
        assembly = assemble_file(source, None if at is None else parse_address(at))
        if output.exists() and output.samefile(source):
            raise LoadError(f"{output} is the source: give another file for the image")
        output.write_bytes(assembly.image)
    except (AssemblyError, LoadError) as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        message = f"cannot write {output}: {error.strerror}"
        raise BadInput(message) from None
    if listing:
        with stdout_of(context):
            click.echo(assembly.listing)
    for warning in assembly.warnings.splitlines():
        click.echo(warning, err=True)
    click.echo(f"{output}: {len(assembly.image):,} bytes for {assembly.origin:#x}", err=True)


def _lines(guest: Guest) -> Iterator[str]:
    """A description for people."""
    registers = "".join(
        f", {name.upper()} {value:08X}" for name, value in guest.start.registers.items()
    )
    yield f"{guest.path}: {guest.format}, {guest.size:,} bytes"
    yield f"starts in {guest.start}{registers}"
    needs = ", and a PC's devices" if guest.devices == "pc" else ""
    yield f"needs {guest.memory // 1024}K of memory{needs}"
    for segment in guest.segments:
        zeros = segment.size - segment.length
        yield (
            f"  {segment.address:#010x}-{segment.end:#010x}"
            f"  {segment.length:,} bytes from byte {segment.offset:,} of the file"
            + (f", then {zeros:,} zeros" if zeros else "")
        )
    yield from guest.notes
