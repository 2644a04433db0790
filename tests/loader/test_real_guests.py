"""Guests as people make them, with the real tools, run to their end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loader.files import written
from vmm import Machine, Outcome, Result
from vmm.asm import GUESTS, assemble
from vmm.loader import Flat32Start, Format, Guest, LoadError, describe, load_guest

C_SOURCE = r"""
static char zeros[5000];
static char text[] = "hello from C\n";

static void out(unsigned short port, unsigned char value)
{
    __asm__ volatile ("outb %0, %1" : : "a" (value), "Nd" (port));
}

static int sum(const char *bytes, int count)
{
    return count ? bytes[0] + sum(bytes + 1, count - 1) : 0;
}

void _start(void)
{
    for (const char *next = text; *next; next++)
        out(0xE9, *next);
    out(0xF4, 7 + sum(zeros, 100));
    for (;;)
        __asm__ volatile ("hlt");
}
"""

COMPILE = [
    *("gcc", "-m32", "-O1", "-ffreestanding", "-fno-pic", "-fno-stack-protector"),
    *("-fcf-protection=none", "-nostdlib", "-Wl,--build-id=none"),
]


def compiled(folder: Path, *options: str, source: str = C_SOURCE) -> Path:
    """An ELF file, or a skip where the compiler makes none for the 386."""
    made = folder / "kernel.elf"
    done = subprocess.run(
        [*COMPILE, *options, "-o", str(made), "-x", "c", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"gcc -m32 does not link here: {done.stderr.strip()}")
    return made


def run(
    path: Path, memory: str = "4M", append: str = "", modules: tuple[str, ...] = ()
) -> tuple[Guest, Result]:
    machine = Machine(memory)
    guest = load_guest(path, machine.memory, append=append, modules=modules)
    guest.start.apply(machine.vcpus[0])
    result = machine.run(timeout=10)
    return guest, result


def test_a_c_program(tmp_path: Path) -> None:
    guest, result = run(compiled(tmp_path, "-static", "-no-pie", "-Wl,-Ttext=0x100000"))
    assert guest.format is Format.ELF
    assert result.outcome is Outcome.EXIT_PORT, result.explanation
    assert (result.exit_code, result.console) == (7, "hello from C\n")


def test_a_c_program_that_is_linked_for_linux(tmp_path: Path) -> None:
    """At 0x8048000: that is 128 MiB, and takes more memory than a machine has by default."""
    path = compiled(tmp_path, "-static", "-no-pie")
    with pytest.raises(LoadError, match=r"does not fit: .*give at least \d+K of memory"):
        run(path)
    assert run(path, f"{describe(path).memory >> 10}K")[1].console == "hello from C\n"


def test_a_kernel_for_the_upper_half(tmp_path: Path) -> None:
    """Linked by a script that tells virtual addresses from physical ones, as such kernels are."""
    script = tmp_path / "upper.ld"
    script.write_text("""
        ENTRY(_start)
        SECTIONS
        {
            . = 0xC0100000;
            .all : AT(ADDR(.all) - 0xC0000000) { *(.text* .rodata* .data* .bss* COMMON) }
            /DISCARD/ : { *(.note* .comment .eh_frame) }
        }
    """)
    source = 'void _start(void) { __asm__ volatile ("movb $9, %al; outb %al, $0xF4; hlt"); }'
    path = compiled(tmp_path, "-static", "-no-pie", f"-Wl,-T,{script}", source=source)
    guest, result = run(path)
    assert isinstance(guest.start, Flat32Start)
    assert 0x100000 <= guest.start.eip < 0x101000
    assert result.exit_code == 9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-c"], "is an object file, which is not linked yet"),
        (["-pie"], "is position-independent or a shared library"),
        (["-shared"], "is position-independent or a shared library"),
    ],
)
def test_what_gcc_makes_and_cannot_be_run(tmp_path: Path, options: list[str], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        describe(compiled(tmp_path, *options))


def test_a_program_of_this_host() -> None:
    program = shutil.which("true")
    assert program is not None
    with pytest.raises(LoadError, match="is ELF64; this machine runs static ELF32 i386"):
        describe(program)


MULTIBOOT_OUTPUT = """\
loaded by x86core vmm
command line: one  two
memory from 0000000000000000 length 00000000000A0000 type 00000001
memory from 00000000000A0000 length 0000000000060000 type 00000002
memory from 0000000000100000 length 0000000000300000 type 00000001
module 00100000-00100005: {folder}/one and arguments
module 00101000-00102001: {folder}/two
"""


def multiboot_as_source(folder: Path) -> Path:
    return GUESTS / "multiboot.S"


def multiboot_as_image(folder: Path) -> Path:
    return written(folder, assemble(GUESTS / "multiboot.S"))


def multiboot_as_elf(folder: Path) -> Path:
    """The same source, linked by ld."""
    linked = folder / "multiboot.elf"
    done = subprocess.run(
        [
            *("gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x20000"),
            *("-Wl,-e,entry", "-Wl,-N", "-Wl,--build-id=none", "-o", str(linked)),
            str(GUESTS / "multiboot.S"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"gcc -m32 does not link here: {done.stderr.strip()}")
    return linked


@pytest.mark.parametrize("make", [multiboot_as_source, multiboot_as_image, multiboot_as_elf])
def test_a_multiboot_kernel_prints_what_it_was_told(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    written(tmp_path, b"first", "one")
    written(tmp_path, bytes(4097), "two")
    guest, result = run(
        make(tmp_path),
        append="one  two",
        modules=(f"{tmp_path}/one and arguments", f"{tmp_path}/two"),
    )
    assert guest.format is Format.MULTIBOOT
    assert result.outcome is Outcome.EXIT_PORT, result.explanation
    assert result.exit_code == 0
    assert result.console == MULTIBOOT_OUTPUT.format(folder=tmp_path)


def test_the_kernel_refuses_another_loader(tmp_path: Path) -> None:
    machine = Machine("1M")
    load_guest(GUESTS / "multiboot.S", machine.memory).start.apply(machine.vcpus[0])
    machine.vcpus[0].eax = 0
    assert machine.run(timeout=10).exit_code == 1
