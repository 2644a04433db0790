from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vmm.asm
from vmm.asm import AssemblyError, assemble, assembly

CODE16 = ".intel_syntax noprefix\n.code16\n"


def test_real_mode_code() -> None:
    assert assemble(CODE16 + "mov ax, 0x1234\nhlt\n") == bytes.fromhex("b83412f4")


@pytest.mark.parametrize("origin", [0, 0x7C00, 0x8003])
def test_addresses_count_from_the_origin(origin: int) -> None:
    image = assemble(CODE16 + "mov si, offset text\ntext: .byte 1\n", origin=origin)
    assert image == b"\xbe" + (origin + 3).to_bytes(2, "little") + b"\x01"


def test_every_section_is_in_the_image_where_its_labels_say() -> None:
    image = assemble(
        CODE16
        + """
        .text
        .word constant, variable, zeros
        .section .rodata
        constant: .byte 0xC0
        .data
        variable: .byte 0xDA
        .bss
        zeros: .skip 5
        """,
        origin=0x1000,
    )
    constant, variable, zeros = (
        int.from_bytes(image[at : at + 2], "little") - 0x1000 for at in (0, 2, 4)
    )
    assert image[constant] == 0xC0
    assert image[variable] == 0xDA
    assert image[zeros : zeros + 5] == bytes(5)


def test_code_that_is_aligned_beyond_the_origin_is_reached_over_nops() -> None:
    image = assemble(CODE16 + ".balign 4096\nhlt\n", origin=0x7C00)
    assert image.rstrip(b"\x90") == b"\x90" * 0x400 + b"\xf4"


def test_the_preprocessor_runs() -> None:
    assert assemble(CODE16 + "#define CODE 0x42\nmov al, CODE\n") == b"\xb0\x42"


def test_includes_are_found_beside_the_file_and_in_the_given_folders(tmp_path: Path) -> None:
    (tmp_path / "beside.inc").write_text(".byte 1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "given.inc").write_text(".byte 2\n")
    (tmp_path / "data.bin").write_bytes(b"\x03")
    source = tmp_path / "guest.S"
    source.write_text('#include "beside.inc"\n.include "given.inc"\n.incbin "data.bin"\n')
    assert assemble(source, include=[tmp_path / "folder"]) == b"\x01\x02\x03"


def test_includes_among_the_shipped_guests() -> None:
    image = assemble('#include "protected_mode.inc"\nenter_protected_mode\nhlt\n')
    assert image.startswith(b"\xfa")  # CLI


def test_an_error_names_the_users_file_and_line(tmp_path: Path) -> None:
    source = tmp_path / "broken.S"
    source.write_text("nop\nnop\nbogus eax\n")
    with pytest.raises(AssemblyError, match=rf"{source}:3: Error: no such instruction"):
        assemble(source)


def test_an_error_in_source_text_names_the_line() -> None:
    with pytest.raises(AssemblyError, match=r"<source>:2: Error: no such instruction"):
        assemble("nop\nbogus eax\n")


def test_a_missing_include_names_file_and_line(tmp_path: Path) -> None:
    source = tmp_path / "guest.S"
    source.write_text('nop\n#include "nowhere.inc"\n')
    with pytest.raises(AssemblyError, match=rf"{source}:2:10: fatal error: nowhere.inc: No such"):
        assemble(source)


def test_an_undefined_symbol_names_file_and_line(tmp_path: Path) -> None:
    source = tmp_path / "guest.S"
    source.write_text("start:\nnop\ncall nowhere\ncall elsewhere\n")
    with pytest.raises(AssemblyError) as raised:
        assemble(source)
    assert str(raised.value).splitlines() == [
        f"{source}:3: undefined reference to `nowhere'",
        f"{source}:4: undefined reference to `elsewhere'",
    ]


def test_an_address_that_16_bits_cannot_hold() -> None:
    with pytest.raises(AssemblyError, match="truncated to fit"):
        assemble(CODE16 + "mov si, offset text\ntext:\n", origin=0x12345)


@pytest.mark.parametrize("missing", ["gcc", "ld"])
def test_a_missing_tool_is_named(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "ld":
        # A gcc that does nothing, and nothing else on the PATH.
        (tmp_path / "gcc").write_text("#!/bin/sh\n")
        (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssemblyError, match=f"{missing} is not on the PATH"):
        assemble("nop\n")


def test_an_unreadable_file() -> None:
    with pytest.raises(FileNotFoundError):
        assemble(Path("nowhere.S"))


def test_the_module_works_alone() -> None:
    """The build assembles the guests before there is a compiled core."""
    script = f"""
import runpy, sys
assemble = runpy.run_path({vmm.asm.__file__!r})["assemble"]
assert assemble("nop") == b"\\x90"
assert "x86core" not in sys.modules and "vmm" not in sys.modules
"""
    subprocess.run([sys.executable, "-I", "-c", script], check=True)


def test_the_listing_has_the_lines_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "some.inc").write_text("hlt\n")
    source = tmp_path / "guest.S"
    source.write_text('#define BYTE 7\n\n#include "some.inc"\n.byte BYTE\n')
    lines = [line.split() for line in assembly(source).listing.splitlines()]
    assert ["1", "0000", "F4", "hlt"] in lines
    assert ["4", "0001", "07", ".byte", "7"] in lines


def test_warnings(tmp_path: Path) -> None:
    source = tmp_path / "guest.S"
    source.write_text('.warning "mind this"\n')
    assert assembly(source).warnings.endswith("guest.S:1: Warning: mind this")


@pytest.mark.parametrize(
    "text",
    [
        ".skip 0x7FFFFFFF\n",  # a file of 2 GiB
        ".rept 2000000000\nnop\n.endr\n",  # more memory than there is
    ],
)
def test_source_that_wants_too_much(text: str) -> None:
    with pytest.raises(AssemblyError, match=r"too much time, memory or disk|out of memory"):
        assemble(text)


def test_limits_that_are_lower_already() -> None:
    script = """
import resource
from vmm.asm import assemble
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
assert assemble("nop") == b"\\x90"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
