"""The reader: what it makes of a good file, and what it says of a bad one."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.vectors import moo
from tests.vectors.__main__ import main

AX, IP = 1 << 0, 1 << 12


def chunk(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("<I", len(body)) + body


def state(mask: int, values: list[int], memory: dict[int, int]) -> bytes:
    ram = b"".join(struct.pack("<IB", *item) for item in memory.items())
    return chunk(b"REGS", struct.pack(f"<H{len(values)}H", mask, *values)) + chunk(
        b"RAM ", struct.pack("<I", len(memory)) + ram
    )


def capture(index: int, exception: bytes = b"") -> bytes:
    code = b"\x40\xf4"
    body = struct.pack("<I", index) + chunk(b"BYTS", struct.pack("<I", len(code)) + code)
    registers = [0xFFFF, *range(1, 12), 0x100, 0x0002]
    body += chunk(b"INIT", state(0x3FFF, registers, {0x150: 0x40, 0x151: 0xF4}))
    body += chunk(b"FINA", state(AX | IP, [0, 0x102], {0x200: 7}))
    return chunk(b"TEST", body + exception)


def moo_file(*captures: bytes, count: int | None = None) -> bytes:
    header = struct.pack("<HHI4s", 1, 0, len(captures) if count is None else count, b"C286")
    return chunk(b"MOO ", header) + b"".join(captures)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "40.moo").write_bytes(moo_file(capture(0)))
    (tmp_path / "80.4.moo").write_bytes(moo_file(capture(0), capture(1)))
    (tmp_path / moo.MASK_FILE).write_text(json.dumps({"40": 0xFFF, "80.4": 0xFEF}))
    return tmp_path


def test_reads_every_field() -> None:
    exception = chunk(b"EXCP", struct.pack("<BI", 13, 0x1234))
    file = moo.read(moo_file(capture(7, exception)), "40", 0xFEF)
    (test,) = file.captures
    assert (file.name, file.flags_mask) == ("40", 0xFEF)
    assert (test.index, test.code) == (7, b"\x40\xf4")
    assert test.initial.registers["ax"] == 0xFFFF
    assert test.initial.registers["ip"] == 0x100
    assert test.initial.memory == {0x150: 0x40, 0x151: 0xF4}
    assert test.final.registers == {"ax": 0, "ip": 0x102}
    assert test.final.memory == {0x200: 7}
    assert test.exception == 13
    # SS:SP is 5:8; IP and CS lie below the flags.
    assert test.pushed_flags == (0x50 + 12, 0x50 + 13)


def test_no_exception() -> None:
    (test,) = moo.read(moo_file(capture(0))).captures
    assert test.exception is None
    assert test.pushed_flags is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ELF!", "are left behind the last chunk"),
        (chunk(b"RIFF", b""), "does not begin with a 'MOO ' chunk"),
        (moo_file(capture(0))[:-3], "are left"),
        (moo_file(capture(0), count=2), "header says 2 tests, 1 are there"),
        (moo_file(chunk(b"TEST", bytes(4))), "test 0 has no chunk b'BYTS'"),
        (b"", "header says None tests"),
    ],
)
def test_says_what_is_wrong_with_a_file(data: bytes, message: str) -> None:
    with pytest.raises(moo.MooError, match=message):
        moo.read(data, "40")


def test_folder_and_archive_hold_the_same(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "captures.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for path in folder.glob("*.[mj]*"):
            data = path.read_bytes()
            member = tarfile.TarInfo(f"sample/{path.name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert list(moo.load(archive)) == list(moo.load(folder))
    assert [file.flags_mask for file in moo.load(folder)] == [0xFFF, 0xFEF]


@pytest.mark.parametrize(("only", "names"), [(["80"], ["80.4"]), (["80.4", "40"], ["40", "80.4"])])
def test_only_picks_files_and_groups(folder: Path, only: list[str], names: list[str]) -> None:
    assert [file.name for file in moo.load(folder, only)] == names


def test_bad_input_is_one_message_and_status_2(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "no.tar.xz").write_bytes(b"not an archive")
    (tmp_path / "empty").mkdir()
    cases = {
        str(tmp_path / "nowhere"): "no such folder or archive",
        str(tmp_path / "no.tar.xz"): "neither a folder nor a .tar.xz",
        str(tmp_path / "empty"): "flags-mask.json is missing",
        f"{folder} --only 8": "no file 8.moo",
    }
    for arguments, message in cases.items():
        result = CliRunner().invoke(main, arguments.split())
        assert result.exit_code == 2
        assert message in result.output
        assert result.output.count("\n") == 1
