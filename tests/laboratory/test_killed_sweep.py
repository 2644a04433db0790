"""A sweep that is killed again and again gives the same file as one that is not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.laboratory.results import read_results
from tests.laboratory.fake import sweep

HEAD = 'clock = "virtual"\ncosts = "cheap"\n'

MANY = HEAD + 'scenarios = ["alpha", "beta"]\nexecutors = "all"\nrepeats = 4\n'

#: A quick point, and then one that outlasts the test.
TWO = HEAD + 'scenarios = "alpha"\npolicies = "nop"\nparameters = { pause_ms = [0, 10_000] }\n'

#: Runs a sweep; what it prints at the end is how many points it found finished.
PROGRAM = """
import sys
from functools import partial
from pathlib import Path
from bench.laboratory.sweep.local import run_local
from bench.laboratory.sweep.run import run
from tests.laboratory.fake import Watcher, measure, sweep
text, path, jobs = sys.argv[1:]
runner = partial(run_local, jobs=int(jobs), measure=measure)
print(run(sweep(text), Path(path), runner, Watcher()).before)
"""

#: How often the sweep is killed.
KILLS = 10


def start(text: str, path: Path, jobs: int) -> subprocess.Popen[str]:
    """The sweep, in a process group of its own."""
    command = [sys.executable, "-c", PROGRAM, text, str(path), str(jobs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def whole_run(text: str, path: Path) -> int:
    """How many points a sweep that is left alone has found finished."""
    with start(text, path, jobs=2) as process:
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return int(stdout)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def results_in(path: Path) -> int:
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.exists() else 0


def test_killed_ten_times(tmp_path: Path) -> None:
    chance = random.Random(1)
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    assert whole_run(MANY, plain) == 0
    total = len(sweep(MANY).points)
    assert len(read_results(plain)[1]) == total
    finished = 0
    for _ in range(KILLS):
        enough = min(finished + chance.randint(0, 4), total)
        with start(MANY, killed, jobs=2) as process:
            wait_for(lambda: results_in(killed) >= enough)  # noqa: B023
            time.sleep(chance.random() * 0.005)
            os.killpg(process.pid, signal.SIGKILL)
        assert results_in(killed) >= finished  # nothing that was there has gone
        finished = results_in(killed)
    assert whole_run(MANY, killed) == finished
    assert killed.read_bytes() == plain.read_bytes()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether it is there, and not only because nobody has asked for its exit status."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields.rsplit(")", 1)[1].split()[0] != "Z"


def test_workers_die_with_the_sweep(tmp_path: Path) -> None:
    """Also in the middle of a point, when nobody but the sweep's own process is killed."""
    path = tmp_path / "results"
    with start(TWO, path, jobs=1) as process:
        wait_for(lambda: results_in(path) == 1)
        workers = children(process.pid)
        assert any(runs(worker) for worker in workers)
        process.kill()
        wait_for(lambda: not any(runs(worker) for worker in workers))
