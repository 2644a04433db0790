"""Machines that begin in a ROM: `run --rom`, the diagnostic port, saving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vmm import Machine, Outcome
from vmm.cli import cli

TIMEOUT = 20.0

#: 64 KiB that report how far they are, try to write to themselves, and print what they find.
FIRMWARE = """
        .intel_syntax noprefix
        .code16
start:
        mov     al, 0x01
        out     0x80, al
        mov     ax, cs
        mov     ds, ax
        mov     byte ptr [letter], 'X'
        mov     al, [letter]
        out     0xE9, al
        mov     dx, 0x190
        mov     al, 0xFF
        out     dx, al
        mov     al, 0x02
        out     0x80, al
        cli
        hlt
letter: .byte   'A'
        .org    0xFFF0
        ljmp    0xF000, offset start
        .org    0x10000
"""


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.S"
    path.write_text(FIRMWARE)
    return path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


def test_it_runs_from_the_reset_vector(firmware: Path) -> None:
    result = Machine.load(firmware, "1M", as_rom=True).run(TIMEOUT)
    assert (result.outcome, result.console) == (Outcome.ALL_HALTED, "A")
    assert result.vcpus[0].location.startswith("F000:")


def test_other_vcpus_wait_for_their_start(firmware: Path) -> None:
    result = Machine.load(firmware, "1M", 2, as_rom=True).run(TIMEOUT)
    assert result.console == "A"
    assert [vcpu.waiting for vcpu in result.vcpus] == ["hlt", "start"]


def test_codes_are_shown_as_they_come(firmware: Path) -> None:
    result = invoke("run", firmware, "--rom", "--post-port", "0x80", "--timeout", "20")
    assert (result.exit_code, result.stdout) == (0, "A")
    lines = result.stderr.splitlines()
    assert lines[:2] == ["POST 01", "POST 02"]
    assert lines[2].startswith("all-halted")


def test_codes_in_the_result(firmware: Path) -> None:
    result = invoke("run", firmware, "--rom", "--post-port", "0x190", "--timeout", "20", "--json")
    assert json.loads(result.stdout)["post_codes"] == [0xFF]
    assert "POST" not in result.stderr


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("0xE9", "port 0xe9 is taken by"),
        ("eighty", "'eighty' is no port: give a number such as 0x80"),
        ("0x10000", "port 0x10000 is not in 0..0xffff"),
    ],
)
def test_a_port_that_cannot_be_had(firmware: Path, port: str, message: str) -> None:
    result = invoke("run", firmware, "--rom", "--post-port", port)
    assert result.exit_code == 2
    assert message in result.stderr


def test_info_of_a_rom(firmware: Path, tmp_path: Path) -> None:
    assert invoke("info", firmware, "--rom").stdout.splitlines() == [
        f"{firmware}: ROM image, 65,536 bytes",
        "starts in real mode at F000:FFF0, the reset vector",
        "needs 1024K of memory, and a PC's devices",
        "  0x000f0000-0x00100000  65,536 bytes from byte 0 of the file",
        "also at 0xffff0000, below 4 GiB; nothing can be written to either",
    ]
    described = json.loads(invoke("info", firmware, "--rom", "--json").stdout)
    assert (described["format"], described["mode"]) == ("ROM image", "real")


def test_a_bad_size_is_misuse(tmp_path: Path) -> None:
    path = tmp_path / "short.rom"
    path.write_bytes(bytes(1000))
    for command in ("run", "info"):
        result = invoke(command, path)
        assert result.exit_code == 2
        assert result.stderr.count("Error: ") == 1
        assert "short.rom has 1,000 bytes, which is no ROM" in result.stderr


@pytest.mark.parametrize("clock", ["wall", "virtual"])
def test_a_saved_machine_has_its_rom(firmware: Path, tmp_path: Path, clock: str) -> None:
    machine = Machine.load(firmware, "1M", as_rom=True, clock=clock)
    assert machine.run(TIMEOUT, 1).outcome is Outcome.INSTRUCTION_LIMIT
    machine.save(tmp_path / "saved")
    restored = Machine.restore(tmp_path / "saved")
    assert restored.memory.rom == 64 << 10
    assert restored.run(TIMEOUT).console == "A"


def test_the_codes_of_a_restored_machine(firmware: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    invoke("run", firmware, "--rom", "--max-instructions", "3", "--save", saved)
    result = invoke("run", "--restore", saved, "--post-port", "0x80", "--timeout", "20")
    assert (result.exit_code, result.stdout) == (0, "A")
    assert result.stderr.startswith("POST 02\n")
