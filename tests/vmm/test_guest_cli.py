"""`python -m vmm info` and `asm`, and what `run` does with a Multiboot kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.loader.files import Elf, Part, floppy, multiboot_elf, written
from tests.vmm.conftest import WriteGuest
from vmm.cli import cli


def run_info(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["info", *map(str, arguments)])


def run_asm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["asm", *map(str, arguments)])


def refused(result: Result) -> str:
    """The message of a misuse: one, with status 2."""
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"\n{result.stderr}".count("\nError: ") == 1
    return result.stderr.split("Error: ", 1)[1]


def test_info(tmp_path: Path) -> None:
    path = written(tmp_path, Elf([Part(0x100000, b"\xf4" * 1000, 5000)]).build(), "kernel")
    assert run_info(path).stdout.splitlines() == [
        f"{path}: ELF32 executable, 1,084 bytes",
        "starts in 32-bit protected mode at 00100000",
        "needs 1032K of memory",
        "  0x00100000-0x00101388  1,000 bytes from byte 84 of the file, then 4,000 zeros",
    ]


def test_info_says_what_is_not_there(tmp_path: Path) -> None:
    text = run_info(written(tmp_path, floppy(1440), "disk.img")).stdout
    assert "floppy image, 1,474,560 bytes" in text
    assert "starts in real mode at 0000:7C00, EDX 00000000" in text
    assert "INT 13h" in text
    assert "of memory, and a PC's devices" in text


def test_info_of_a_shipped_guest() -> None:
    text = run_info("hello").stdout
    assert "flat image" in text
    assert "needs 32K of memory" in text


def test_info_as_json(tmp_path: Path) -> None:
    path = written(tmp_path, multiboot_elf())
    described = json.loads(run_info(path, "--json").stdout)
    assert described.pop("notes")
    assert described == {
        "path": str(path),
        "format": "Multiboot kernel",
        "size": 148,
        "mode": "protected",
        "start": {"eip": 0x10000C, "registers": {"eax": 0x2BADB002}},
        "memory": 0x102000,
        "devices": "pc",
        "segments": [{"address": 0x100000, "size": 0x2000, "offset": 84, "length": 64}],
    }


def test_info_as_json_of_a_real_mode_guest(tmp_path: Path) -> None:
    described = json.loads(run_info(written(tmp_path, b"\xf4"), "--json").stdout)
    assert (described["mode"], described["format"]) == ("real", "flat image")
    assert described["start"] == {"cs": 0, "ip": 0x7C00, "registers": {}}


def test_info_of_what_is_no_guest(tmp_path: Path) -> None:
    assert "is no guest that is known here" in refused(
        run_info(written(tmp_path, b"buy milk", "notes.txt"))
    )
    assert "there is no guest 'hallo'" in refused(run_info("hallo"))
    assert "guest.S:1: Error: no such instruction" in refused(
        run_info(written(tmp_path, b"bogus\n", "guest.S"))
    )


def test_asm(guest: WriteGuest, tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    result = run_asm(guest("mov si, offset text\nhlt\ntext:\n"), "-o", image)
    assert result.exit_code == 0
    assert image.read_bytes() == b"\xbe\x04\x7c\xf4"
    assert (result.stdout, result.stderr) == ("", f"{image}: 4 bytes for 0x7c00\n")


def test_asm_at_an_address(guest: WriteGuest, tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    assert run_asm(guest("here: .word here\n"), "-o", image, "--at", "0x600").exit_code == 0
    assert image.read_bytes() == b"\x00\x06"


def test_asm_with_a_listing(guest: WriteGuest, tmp_path: Path) -> None:
    result = run_asm(guest("cli\nhlt\n"), "-o", tmp_path / "image.bin", "--listing")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["1", ".intel_syntax", "noprefix"],
        ["2", ".code16"],
        ["3", "0000", "FA", "cli"],
        ["4", "0001", "F4", "hlt"],
    ]


def test_asm_passes_warnings_on(guest: WriteGuest, tmp_path: Path) -> None:
    result = run_asm(guest('.warning "mind this"\nhlt\n'), "-o", tmp_path / "image.bin")
    assert result.exit_code == 0
    assert "guest.S:3: Warning: mind this" in result.stderr


def test_source_with_an_error_leaves_the_old_image(guest: WriteGuest, tmp_path: Path) -> None:
    image = written(tmp_path, b"old", "image.bin")
    assert "guest.S:3: Error: no such instruction" in refused(run_asm(guest("bogus"), "-o", image))
    assert image.read_bytes() == b"old"


def test_asm_does_not_overwrite_its_source(guest: WriteGuest) -> None:
    path = guest("hlt\n")
    assert "is the source" in refused(run_asm(path, "-o", path))
    assert "hlt" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["guest.S"], "Missing option '-o'"),
        (["-o", "x.bin"], "Missing argument 'FILE'"),
        (["nowhere.S", "-o", "x.bin"], "cannot read guest nowhere.S: No such file"),
        (["nowhere.asm", "-o", "x.bin"], "cannot read guest nowhere.asm: No such file"),
        (["guest.bin", "-o", "x.bin"], "guest.bin is no source: give a .S or .asm file"),
        (["guest.S", "-o", "x.bin", "--at", "there"], "'there' is no address"),
        (["guest.S", "-o", "x.bin", "--at", "0x100000"], "outside the first MiB"),
        (["guest.S", "-o", "."], "cannot write .: Is a directory"),
        (["guest.S", "-o", "no/folder/x.bin"], "cannot write no/folder/x.bin: No such file"),
    ],
)
def test_misuse_of_asm(
    guest: WriteGuest, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(guest("hlt\n").parent)
    Path("guest.bin").write_bytes(b"\xf4")
    assert says in refused(run_asm(*arguments))
    assert not Path("x.bin").exists()


def test_a_multiboot_kernel_gets_command_line_and_modules(tmp_path: Path) -> None:
    module = f"{written(tmp_path, b'data', 'notes.txt')} for the kernel"
    result = CliRunner().invoke(
        cli, ["run", "multiboot", "--append", "one two", "--module", module, "--vcpus", "2"]
    )
    assert result.exit_code == 0
    assert "command line: one two\n" in result.stdout
    assert result.stdout.endswith(f"module 00100000-00100004: {module}\n")
    assert "vCPU 1: 0 instructions" in result.stderr


def test_others_get_none() -> None:
    result = CliRunner().invoke(cli, ["run", "hello", "--append", "one two"])
    assert "leave them out" in refused(result)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this host")
@pytest.mark.parametrize("command", [["info", "hello"], ["asm", "guest.S", "-o", "x", "--listing"]])
def test_output_that_cannot_be_written(
    guest: WriteGuest, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    root = Path.cwd()
    monkeypatch.chdir(guest("hlt\n").parent)
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m vmm "$@" > /dev/full', sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot write to standard output: No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["info", "asm"])
def test_help_has_examples(command: str) -> None:
    text = CliRunner().invoke(cli, [command, "--help"]).stdout
    assert f"python -m vmm {command} " in text
