"""--stats and --timeline of `python -m vmm run`, as processes: their tables, files and endings."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.seeing.validator import read_trace

TIMEOUT = 60.0


def vmm(*arguments: str, file_size: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.run(
        [sys.executable, "-m", "vmm", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=limit,
    )


def test_the_tables() -> None:
    done = vmm("smp", "--stats")
    assert done.returncode == 0
    assert done.stdout.startswith("processors: 4\n"), "the guest's output is untouched"
    lines = done.stderr.splitlines()
    heading = next(line for line in lines if " of " in line)
    assert all(name in heading for name in ("guest", "sleep", "start", "handling", "loop"))
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
    assert rows["wakes_store"][:5] == ["0", "1", "1", "1", "3"]
    assert rows["irq_injections"][:5] == ["0", "1", "1", "1", "3"]
    assert rows["EXIT_IO"][0] == rows["EXIT_IO"][4]
    assert any(line.strip().startswith("total") for line in lines)


def test_json_has_the_times() -> None:
    for options in (("--stats",), ()):
        result = json.loads(vmm("hello", "--json", *options).stdout)
        times = result["vcpus"][0]["times"]
        if not options:
            assert times == {}
            continue
        assert set(times) >= {"guest", "hlt_sleep", "mwait_poll", "work", "handling", "loop"}
        assert times["guest"] > 0
        assert times["handling"] > 0
        assert sum(times.values()) <= result["wall_seconds"] * 1e9


def test_a_picture_each_second_on_a_terminal() -> None:
    """Both outputs are the terminal; what the guest prints stands whole between the pictures."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vmm", "run", "pair", "--timeout", "2.5", "--stats"],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "50"},
    )
    os.close(follower)
    shown = bytearray()
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # the other side is closed
        pass
    assert process.wait(TIMEOUT) == 124
    os.close(leader)
    text = shown.decode()
    assert text.count("mwait_instructions") >= 2, text
    assert "timeout after" in text


def test_ctrl_c_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "vmm", "run", "pair", "--timeline", str(path)],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + TIMEOUT
    while not path.exists() or path.stat().st_size < 100_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert read_trace(path, arrows=100).begins


def test_no_room_while_it_runs(tmp_path: Path) -> None:
    """The run ends with a message, and the file is whole up to where there was room."""
    path = tmp_path / "timeline.json"
    done = vmm("pair", "--timeout", "30", "--timeline", str(path), file_size=65536)
    assert done.returncode == 2
    assert done.stderr.count("cannot write the timeline to") == 1
    assert f"{path}: File too large" in done.stderr
    assert path.stat().st_size <= 65536
    assert json.loads(path.read_text())["otherData"] == {"truncated": True}


@pytest.mark.parametrize("path", ["/dev/full", "nowhere/at/all.json", "."])
def test_a_file_that_cannot_be_written(path: str) -> None:
    done = vmm("hello", "--timeline", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: cannot write the timeline to {path}: " in done.stderr


def test_a_guest_that_cannot_be_loaded_costs_no_timeline(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    path.write_text("of yesterday")
    assert vmm("nowhere.S", "--timeline", str(path)).returncode == 2
    assert path.read_text() == "of yesterday"
