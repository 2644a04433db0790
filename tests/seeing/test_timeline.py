"""Timelines of real guests, judged by the rules of the format and by what the core has counted."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import x86core as x86
from tests.seeing.validator import Trace, check_vcpu_tracks, read_trace
from tests.support import DATA, RAM, flat32
from vmm import HLT_CHOICES, MWAIT_CHOICES, Machine, Outcome, Result, Timeline, TimelineError

TIMEOUT = 60.0

SLEEPERS = ("timer", "scan", "fault", "adaptive", "halt", "passthrough")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "timeline.json"


def recorded(machine: Machine, path: Path, seconds: float = TIMEOUT) -> tuple[Result, Trace]:
    result = machine.run(timeout=seconds)
    trace = read_trace(path)
    check_vcpu_tracks(trace)
    return result, trace


def waits(trace: Trace, name: str, cause: str) -> list[dict[str, object]]:
    """Slices of any vCPU with this name that this has ended."""
    return [
        event
        for events in trace.tracks.values()
        for event in events
        if event["name"] == name and event["args"].get("ended by") == cause
    ]


@pytest.mark.parametrize("idle", MWAIT_CHOICES)
def test_the_pair_under_each_policy(idle: str, path: Path) -> None:
    timeline = Timeline(path)
    machine = Machine.load("pair", vcpus=2, idle=idle, observers=[timeline])
    result, trace = recorded(machine, path, 0.15)
    assert result.outcome is Outcome.TIMEOUT
    assert trace.other == {"lost": timeline.lost, "clock": "host"}
    names = trace.slice_names()
    assert "guest" in names
    stats = result.vcpus[0].stats
    if idle == "exit":
        assert "EXIT_MWAIT" in names
    assert ("MWAIT sleep" in names or "MWAIT poll" in names) == (stats["mwait_waits"] > 0)
    assert stats["mwait_waits"] == 0 or idle in SLEEPERS
    if not timeline.lost:
        ended = sum(len(waits(trace, f"MWAIT {how}", "store")) for how in ("sleep", "poll"))
        assert ended == stats["wakes_store"]
        by_vcpu = [a for a in trace.begins.values() if (a["name"], a["pid"]) == ("store", 1)]
        assert len(by_vcpu) == (0 if idle == "scan" else stats["wakes_store"])
        assert {arrow["tid"] for arrow in by_vcpu} <= {2}  # the waker's track


def test_processors_that_are_started_and_woken(path: Path) -> None:
    machine = Machine.load("smp", vcpus=4, start="bootstrap", observers=[Timeline(path)])
    result, trace = recorded(machine, path)
    assert result.exit_code == 0
    assert set(trace.names.values()) >= {"vCPU 0", "vCPU 1", "vCPU 2", "vCPU 3", "host"}
    for index in (1, 2, 3):
        slices = trace.track("vCPUs", f"vCPU {index}")
        arrows = {
            trace.begins[number]["name"]: trace.begins[number]
            for number, end in trace.ends.items()
            if (end["pid"], end["tid"]) == (1, index + 1)
        }
        for name in ("INIT or SIPI", "store", "interrupt"):
            assert (arrows[name]["pid"], arrows[name]["tid"]) == (1, 1), "from vCPU 0"
        (woken,) = (s for s in slices if s.get("args", {}).get("ended by") == "interrupt")
        assert (woken["name"], woken["args"]["by"]) == ("HLT sleep", "vCPU 0")
    assert "EXIT_IO" in trace.slice_names()


@pytest.mark.parametrize("hlt", HLT_CHOICES)
def test_interrupts_of_the_host(hlt: str, path: Path) -> None:
    machine = Machine.load("idle", hlt=hlt, tick=200, observers=[Timeline(path)])
    _, trace = recorded(machine, path, 0.3)
    ticks = [a for a in trace.begins.values() if a["name"] == "interrupt"]
    assert ticks
    assert {trace.processes[a["pid"]] for a in ticks} == {"host"}
    expected = {"block": "HLT sleep", "poll": "HLT sleep", "exit": "EXIT_HLT"}
    assert expected.get(hlt, "HLT poll") in trace.slice_names()


def test_deferred_work(path: Path) -> None:
    machine = Machine.load("idle", tick=100, observers=[Timeline(path)])
    names = [f'task {number} "quoted"' for number in range(5)]
    for name in names:
        machine.work.submit(lambda: sum(range(10_000)), name)

    def broken() -> None:
        raise ValueError("no")

    machine.work.submit(broken, "broken")
    result, trace = recorded(machine, path, 0.3)
    assert (result.work.done, result.work.failed) == (5, 1)
    done = trace.track("deferred work", "by vCPU 0")
    assert [event["name"] for event in done] == [*names, "broken"]
    assert all(event["dur"] > 0 for event in done)


def test_the_guest_triple_faults(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "fault.S"
    source.write_text(".code16\nlidtw empty\nud2\nempty: .word 0, 0, 0\n")
    result, trace = recorded(Machine.load(source, observers=[Timeline(path)]), path)
    assert result.outcome is Outcome.SHUTDOWN
    assert [event["name"] for event in trace.instants] == ["EXIT_SHUTDOWN"]


def test_a_device_fails(path: Path) -> None:
    def console(data: bytes) -> None:
        raise OSError("broken")

    machine = Machine.load("hello", console=console, observers=[Timeline(path)])
    with pytest.raises(OSError, match="broken"):
        machine.run(timeout=TIMEOUT)
    assert read_trace(path).tracks


def test_a_flood_of_exits_is_put_together(path: Path, tmp_path: Path) -> None:
    source = tmp_path / "flood.S"
    source.write_text(".code16\nmov $20000, %cx\nl: out %al, $0x80\nloop l\nout %al, $0xf4\n")
    timeline = Timeline(path)
    _, trace = recorded(Machine.load(source, observers=[timeline]), path)
    slices = trace.track("vCPUs", "vCPU 0")
    together = sum(s["args"]["exits"] for s in slices if "×" in s["name"])
    single = sum(s["name"] == "EXIT_IO" for s in slices) + len(trace.instants)
    lost = sum(s["args"]["records"] for s in slices if s["name"] == "not recorded")
    assert lost == timeline.lost
    if not lost:
        assert together + single == 20_001
    assert together > 1000
    assert path.stat().st_size < 1_000_000


def test_records_that_were_lost_are_told(path: Path) -> None:
    """Nobody drains meanwhile."""
    vcpu = flat32("again: out 0x80, al; jmp again")
    timeline = Timeline(path)
    timeline.start([vcpu])
    for _ in range(20_000):
        vcpu.run()
    timeline.drain()
    for _ in range(3):
        vcpu.run()
    timeline.finish()
    trace = read_trace(path)
    check_vcpu_tracks(trace)
    (gap,) = (s for s in trace.track("vCPUs", "vCPU 0") if s["name"] == "not recorded")
    assert gap["args"]["records"] == trace.other["lost"] == timeline.lost == 40_000 - 32_768


def test_virtual_time_is_the_same_twice(tmp_path: Path) -> None:
    def once(name: str) -> str:
        memory = x86.Memory(RAM, virtual_time=True)
        ring = []
        for index in range(3):
            mine, following = DATA + 64 * index, DATA + 64 * ((index + 1) % 3)
            vcpu = flat32(
                f"again: mov eax, {mine}; xor ecx, ecx; xor edx, edx; monitor;"
                f" cmp dword ptr [{mine}], 0; jne woken; mwait; jmp again;"
                f" woken: mov dword ptr [{mine}], 0; out 0x80, al;"
                f" mov dword ptr [{following}], 1; jmp again",
                memory=memory,
                index=index,
            )
            vcpu.mwait_policy = x86.MWAIT_FAULT
            ring.append(vcpu)
        memory.write(DATA, b"\1")
        path = tmp_path / name
        timeline = Timeline(path)
        timeline.start(ring)
        lockstep = x86.Lockstep(ring, turn=100)
        while lockstep.run(50_000)[1] != x86.EXIT_LIMIT:
            timeline.drain()
        timeline.finish()
        return path.read_text()

    assert once("a") == once("b")
    trace = read_trace(tmp_path / "a")
    check_vcpu_tracks(trace)
    assert trace.other["clock"] == "virtual"
    assert {event["name"] for event in trace.instants} == {"EXIT_IO"}
    assert trace.slice_names() == {"guest", "MWAIT sleep"}
    assert len(trace.begins) > 10
    ends = {s["ts"] + s["dur"] for t in trace.tracks.values() for s in t[-1:]}
    assert len(ends) == 1, "all tracks end together"


def test_a_machine_in_virtual_time(path: Path) -> None:
    machine = Machine.load(
        "smp",
        vcpus=4,
        start="bootstrap",
        clock="virtual",
        measure=True,
        observers=[Timeline(path)],
    )
    machine.work.submit(lambda: None, "a task")
    result, trace = recorded(machine, path)
    assert result.exit_code == 0
    assert result.guest_ns is not None
    assert {arrow["name"] for arrow in trace.begins.values()} >= {"store", "interrupt"}
    assert {event["name"] for event in trace.instants} >= {"EXIT_IO"}
    assert all(event["ts"] * 1000 <= result.guest_ns + 1000 for event in trace.instants)
    tasks = [e["name"] for t, events in trace.tracks.items() if t[0] == 2 for e in events]
    assert tasks == ["a task"]
    for vcpu in result.vcpus:
        assert vcpu.times["guest"] == vcpu.instructions
        assert sum(vcpu.times.values()) <= machine.meter.wall_ns
        assert vcpu.times["loop"] == vcpu.times["handling"] == vcpu.times["work"] == 0


def test_the_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(TimelineError, match=r"cannot write the timeline to .*: No such file"):
        Timeline(tmp_path / "nowhere" / "timeline.json")
    with pytest.raises(TimelineError, match=r"Is a directory"):
        Timeline(tmp_path)


def test_the_disk_is_full() -> None:
    with pytest.raises(TimelineError, match=r"the timeline to /dev/full: No space left on device"):
        Timeline("/dev/full").start([flat32("hlt")])


def test_a_pipe_whose_reader_stays(tmp_path: Path) -> None:
    """What is no regular file is written to all the same."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    machine = Machine.load("hello", observers=[Timeline(fifo)])
    assert machine.run(timeout=TIMEOUT).exit_code == 0
    reader.join(TIMEOUT)
    assert json.loads(read[0])["traceEvents"]
