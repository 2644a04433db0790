"""`python -m vmm run` as a user meets it: a process with streams and a status.

Misuse is tried in this process, which is quicker, but for one case.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import NO_OTHER_THREADS, has_threads, wait_until
from tests.vmm.conftest import WriteGuest
from vmm.cli import cli

RUN = [sys.executable, "-m", "vmm", "run"]

EXIT_WITH_3 = "mov al, 3\nout 0xF4, al\n"
FOREVER = "mov al, 'A'\nout 0xE9, al\nl: jmp l\n"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_hello() -> None:
    done = run("hello")
    assert (done.returncode, done.stdout) == (0, "Hello from real mode!\n")
    assert done.stderr.startswith("exit-port after 0.")
    assert re.search(r"vCPU 0: \d+ instructions, 0 wakes, .* exits: 23 EXIT_IO", done.stderr)


def test_a_guest_that_waits_for_ticks_gets_them() -> None:
    done = run("idle")
    assert (done.returncode, done.stdout.count("tick")) == (0, 5)


def test_the_tick_can_be_turned_off() -> None:
    done = run("idle", "--tick", "0", "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (124, "")


def test_json(guest: WriteGuest) -> None:
    done = run(guest("mov al, 'A'\nout 0xE9, al\n" + EXIT_WITH_3), "--json", "--vcpus", "1")
    result = json.loads(done.stdout)
    assert done.returncode == result["exit_code"] == 3
    assert result["console"] == "A"
    assert done.stderr == ""


def test_a_flat_image_at_an_address(tmp_path: Path) -> None:
    image = tmp_path / "guest.bin"
    image.write_bytes(b"\xb0\x09\xe6\xf4")  # MOV AL, 9; OUT F4h, AL
    assert run(image, "--at", "0x9000").returncode == 9


@pytest.mark.parametrize(
    ("code", "options", "status", "says"),
    [
        (EXIT_WITH_3, [], 3, "exit-port after"),
        ("mov al, 255\nout 0xF4, al\n", [], 255, "isa-debug-exit: status 511"),
        ("cli\nhlt\n", [], 0, "all-halted after"),
        ("lidt [z]\nint 3\nz: .long 0, 0\n", [], 3, "shutdown after"),
        (".byte 0xEA\n.word 0, 0xF000\n", ["--memory", "64K"], 3, "no memory to fetch code"),
        (FOREVER, ["--timeout", "0.1"], 124, "still running after 0.1 s"),
        (FOREVER, ["--max-instructions", "1000"], 125, "instruction limit"),
    ],
)
def test_how_a_guest_ends_is_the_status(
    guest: WriteGuest, code: str, options: list[str], status: int, says: str
) -> None:
    done = run(guest(code), *options)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_broken_source(tmp_path: Path) -> None:
    source = tmp_path / "broken.S"
    source.write_text("nop\nbogus eax\n")
    done = run(source)
    assert done.returncode == 2
    assert f"{source}:2: Error: no such instruction: `bogus eax'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument 'GUEST'"),
        (["nowhere.S"], "cannot read guest nowhere.S: No such file or directory"),
        (["nowhere.bin"], "cannot read guest nowhere.bin: No such file or directory"),
        (["hallo"], "shipped guest (those are: hello"),
        (
            ["hello", "--idle", "sleep"],
            "'sleep' is not one of 'nop', 'yield', 'exit', 'passthrough'",
        ),
        (
            ["hello", "--hlt", "sleep"],
            "'sleep' is not one of 'block', 'poll', 'exit', 'passthrough'",
        ),
        (["hello", "--memory", "0"], "memory 0: "),
        (["hello", "--memory", "-16M"], "memory -16M: "),
        (["hello", "--memory", "5000"], "memory 5000: "),
        (["hello", "--memory", "1000000G"], "memory 1000000G: "),
        (["hello", "--memory", "lots"], "memory lots: 'lots' is no size"),
        (["hello", "--timeout", "nan"], "timeout must be more than 0 seconds, and finite"),
        (["hello", "--tick", "nan"], "the tick rate must be"),
        (["hello", "--max-instructions", "9" * 20], "is not in the range"),
        (["hello", "--at", "0x20000", "--memory", "64K"], "0x20000 is outside the guest's RAM"),
        (["hello", "--at", "0x7BFF00"], "outside the first MiB"),
        (["hello", "--at", "there"], "'there' is no address"),
        (["hello", "--vcpus", "0"], "0 is not in the range 1<=x<=1024"),
        (["hello", "--tick", "-1"], "-1.0 is not in the range"),
        (["hello", "--timeout", "0"], "0.0 is not in the range"),
        (["hello", "--max-instructions", "-1"], "-1 is not in the range"),
        (["hello", "--frobnicate"], "No such option"),
    ],
)
def test_misuse(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, ["run", *arguments])
    assert isinstance(result.exception, SystemExit)  # no exception of another kind has got out
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("Error: ") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(("size", "says"), [(0, "is empty"), (60_000, "does not fit")])
def test_an_image_of_the_wrong_size(tmp_path: Path, size: int, says: str) -> None:
    image = tmp_path / "guest.bin"
    image.write_bytes(bytes(size))
    result = CliRunner().invoke(cli, ["run", str(image), "--memory", "64K"])
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    "code", [FOREVER, "mov al, 'A'\nout 0xE9, al\nsti\nl: hlt\njmp l\n"], ids=["busy", "halted"]
)
def test_ctrl_c(guest: WriteGuest, code: str, options: list[str]) -> None:
    process = subprocess.Popen(
        [*RUN, str(guest(code)), "--vcpus", "2", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=NO_OTHER_THREADS,
    )
    wait_until(lambda: has_threads(process, 2), "it runs", patience=60)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - start < 5  # it would run for ever
    assert process.returncode == 130
    assert "Traceback" not in stderr
    if options:
        assert json.loads(stdout)["outcome"] == "interrupted"
    else:
        assert stdout == "AA"
        assert stderr.startswith("interrupted after")


def test_console_text_comes_as_it_is_printed(guest: WriteGuest) -> None:
    process = subprocess.Popen(
        [*RUN, str(guest(FOREVER)), "--timeout", "20"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1) == b"A"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)


def test_a_reader_that_goes_away_ends_the_run(guest: WriteGuest) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [*RUN, str(guest("l: mov al, 'A'\nout 0xE9, al\njmp l\n"))],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert os.read(read, 1) == b"A"
    os.close(read)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "Traceback" not in stderr


def test_help_explains_every_option() -> None:
    text = run("--help").stdout
    for option in [
        "--memory",
        "--vcpus",
        "--idle",
        "--hlt",
        "--at",
        "--tick",
        "--max-instructions",
        "--timeout",
        "--json",
    ]:
        assert re.search(rf"^  {option}\b.*(\n {{20,}})?[a-zA-Z]{{3,}}", text, re.MULTILINE), option
    assert "python -m vmm run hello" in text
    assert "130  Ctrl-C" in text


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full on this host")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_cannot_be_written(options: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*RUN, "hello", *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "cannot write to standard output: No space left" in done.stderr
    assert "Traceback" not in done.stderr
