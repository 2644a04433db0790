"""Where the time of a vCPU's thread goes: each kind of it by a guest that does little else."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.vmm.conftest import PRELUDE
from vmm import Machine, Result
from vmm.seeing import statistics_table
from vmm.seeing.meter import ACTIVITIES
from vmm.seeing.table import Sample, count_in_words, in_words

SECONDS = 0.2

GUESTS = {
    "busy": "l: jmp l\n",
    "hlt": "l: sti\nhlt\njmp l\n",
    "mwait": "mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\nl: monitor\nmwait\njmp l\n",
    "ports": "l: out 0x80, al\njmp l\n",
}


def measured(tmp_path: Path, code: str, **options: str) -> tuple[Machine, Result]:
    path = tmp_path / "guest.S"
    path.write_text(PRELUDE + code)
    machine = Machine.load(
        path, measure=True, idle=options.get("idle", "fault"), hlt=options.get("hlt", "block")
    )
    return machine, machine.run(timeout=SECONDS)


@pytest.mark.parametrize(
    ("guest", "idle", "hlt", "activity"),
    [
        ("busy", "fault", "block", "guest"),
        ("hlt", "fault", "block", "hlt_sleep"),
        ("hlt", "fault", "passthrough", "hlt_poll"),
        ("hlt", "fault", "exit", "hlt_exit"),
        ("mwait", "fault", "block", "mwait_sleep"),
        ("mwait", "halt", "block", "mwait_sleep"),
        ("mwait", "passthrough", "block", "mwait_poll"),
        ("mwait", "nop", "block", "guest"),
    ],
)
def test_a_guest_that_does_one_thing(
    guest: str, idle: str, hlt: str, activity: str, tmp_path: Path
) -> None:
    machine, result = measured(tmp_path, GUESTS[guest], idle=idle, hlt=hlt)
    times = result.vcpus[0].times
    assert set(times) == set(ACTIVITIES)
    assert sum(times.values()) == pytest.approx(machine.meter.wall_ns, rel=0.01)
    inside = {name: ns for name, ns in times.items() if name != "loop"}
    assert max(inside, key=inside.__getitem__) == activity, times
    assert times[activity] > 0.5 * sum(inside.values())


def test_exits_are_handled(tmp_path: Path) -> None:
    _, result = measured(tmp_path, GUESTS["ports"])
    times = result.vcpus[0].times
    assert times["handling"] > 0
    assert times["guest"] > 0
    assert times["work"] == times["hlt_exit"] == times["hlt_sleep"] == 0


@pytest.mark.parametrize("hlt", ["block", "exit"])
def test_deferred_work_is_nobodys_exit(hlt: str, tmp_path: Path) -> None:
    path = tmp_path / "guest.S"
    path.write_text(PRELUDE + GUESTS["hlt"])
    machine = Machine.load(path, hlt=hlt, measure=True)
    for _ in range(3):
        machine.work.submit(lambda: time.sleep(0.02))
    times = machine.run(timeout=SECONDS).vcpus[0].times
    assert 60_000_000 <= times["work"] == machine.meter.work_ns
    assert times["handling"] < 50_000_000


def test_nothing_is_measured_unless_somebody_wants_it() -> None:
    machine = Machine.load("hello")
    result = machine.run(timeout=10)
    assert result.vcpus[0].times == {}
    assert (machine.meter.wall_ns, machine.meter.work_ns) == (0, 0)
    assert result.vcpus[0].stats["run_ns"] == 0


def test_the_time_of_processors_that_wait_for_a_start() -> None:
    machine = Machine.load("smp", vcpus=2, start="bootstrap", measure=True)
    times = machine.run(timeout=60).vcpus[1].times
    assert times["start"] > 0
    assert times["mwait_sleep"] > 0


def test_a_restored_machine_is_measured_anew(tmp_path: Path) -> None:
    (tmp_path / "guest.S").write_text(PRELUDE + GUESTS["hlt"])
    machine = Machine.load(tmp_path / "guest.S", measure=True)
    machine.run(timeout=SECONDS)
    machine.save(tmp_path / "saved")
    again = Machine.restore(tmp_path / "saved", measure=True)
    times = again.run(timeout=SECONDS).vcpus[0].times
    assert sum(times.values()) == pytest.approx(again.meter.wall_ns, rel=0.01)


# The tables.


def sample(index: int, **counts: int) -> Sample:
    return Sample(index, 1000, {"guest": 250_000_000}, {"EXIT_IO": 7}, counts)


def text(samples: list[Sample], before: list[Sample], since_ns: int = 0) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(statistics_table(samples, 1_000_000_000, before, since_ns))
    return console.export_text()


def test_rates_are_those_since_the_last_picture() -> None:
    before = [sample(0, halt_exits=10)]
    now = [sample(0, halt_exits=30, run_ns=5, wakes_kick=0)]
    lines = [line.split() for line in text(now, before, 500_000_000).splitlines()]
    assert ["halt_exits", "30", "40"] in lines
    assert ["EXIT_IO", "7", "0.0"] in lines
    assert not any("run_ns" in line or "wakes_kick" in line for line in lines)
    lines = [line.split() for line in text(now, []).splitlines()]
    assert ["halt_exits", "30", "30"] in lines


def test_many_vcpus_are_shown_together() -> None:
    few, many = (text([sample(index) for index in range(n)], []) for n in (4, 5))
    assert few.count("vCPU 3") == 2
    assert many.count("vCPU 3") == 1
    assert ["EXIT_IO", "35", "35"] in [line.split() for line in many.splitlines()]


def test_the_hosts_triggers_count_once() -> None:
    samples = [sample(index, monitor_triggers_host=5) for index in range(5)]
    assert ["monitor_triggers_host", "5", "5.0"] in [
        line.split() for line in text(samples, []).splitlines()
    ]


def test_numbers_in_words() -> None:
    assert [in_words(n) for n in (0, 999, 1000, 12_345, 1.5e6, 1.234e9, 5e11)] == [
        "0 ns", "999 ns", "1.00 µs", "12.3 µs", "1.50 ms", "1.23 s", "500 s"
    ]  # fmt: skip
    assert [count_in_words(n) for n in (0, 7, 99_999, 100_000, 1_234_567, 0.5, 2e9)] == [
        "0", "7", "99,999", "100 k", "1.23 M", "0.5", "2.00 G"
    ]  # fmt: skip
