"""The core's benchmark: it measures what it says, and finds an engine that goes wrong."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest
from rich.console import Console

from bench import core
from bench.core import ExitRow, LoopRow, ParallelRow, Row, Settings
from bench.core_report import parts, tables
from bench.engines import CoreEngine, EngineError
from bench.idling import IdleCore, IdleMachine
from bench.loops import CODE_ADDRESS, LOOPS, Loop

#: Each loop at a size of some 10,000 instructions or more, and what is in EAX then.
SMALL = {"alu": (1000, None), "copy": (1, None), "sieve": (1, 6542), "fib": (15, 610)}

each_loop = pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)


@each_loop
def test_a_loop_gives_its_result(loop: Loop) -> None:
    engine = CoreEngine(loop.name)
    size, result = SMALL[loop.name]
    assert engine.run(size) > 0
    assert result in (None, engine.vcpu.eax)
    ram = engine.state().memory
    if loop.name == "copy":
        assert ram[0x180000:0x190000] == ram[0x100000:0x110000] != bytes(0x10000)


@each_loop
def test_a_loop_gives_the_same_again(loop: Loop) -> None:
    engine = CoreEngine(loop.name)
    size, _ = SMALL[loop.name]
    engine.run(size)
    first, instructions = engine.state(), engine.instructions
    engine.run(size)
    assert first.differences(engine.state()) == []
    assert engine.instructions == instructions > 9000


@each_loop
def test_both_engines_agree(loop: Loop) -> None:
    peer = pytest.importorskip("bench.peer")
    size, _ = SMALL[loop.name]
    peer.check_agreement(CoreEngine(loop.name), peer.UnicornEngine(loop.name), size)


def test_another_result_is_found() -> None:
    peer = pytest.importorskip("bench.peer")
    with pytest.raises(EngineError, match="disagree on eax"):
        peer.check_agreement(CoreEngine("alu"), peer.UnicornEngine("sieve"), 1)


class Miscounting(CoreEngine):
    """Runs as it should but says one instruction too many."""

    def run(self, size: int) -> float:
        seconds = super().run(size)
        self.instructions += 1
        return seconds


def test_another_number_of_instructions_is_found() -> None:
    peer = pytest.importorskip("bench.peer")
    with pytest.raises(EngineError, match="does not take the core's"):
        peer.check_agreement(Miscounting("alu"), peer.UnicornEngine("alu"), 100)


def test_another_memory_and_flags_are_found() -> None:
    engine = CoreEngine("fib")
    engine.run(5)
    state = engine.state()
    other = dataclasses.replace(state, flags=state.flags ^ 1, memory=bytes(len(state.memory)))
    assert state.differences(other) == ["flags", "memory"]


def test_a_program_that_does_not_halt_is_found() -> None:
    engine = CoreEngine("fib")
    engine.vcpu.memory.write(CODE_ADDRESS, b"\x0f\xff")  # #UD, and there is no IDT
    with pytest.raises(EngineError, match="stopped with EXIT_SHUTDOWN, not at HLT"):
        engine.run(5)


def test_idle_exits_are_those_that_the_guest_did() -> None:
    for idler in (IdleCore(), IdleMachine()):
        assert idler.exits(1000) > 0
        assert idler.exits(1) > 0


def test_idle_exits_of_unicorn() -> None:
    assert pytest.importorskip("bench.peer").IdleUnicorn().exits(1000) > 0


def test_parallel_vcpus_leave_no_thread() -> None:
    before = threading.active_count()
    row = core.measure_parallel(Settings(repeats=1, seconds=0.05))
    assert row.one > 0
    assert row.two > 0
    assert threading.active_count() == before


ROWS: list[Row] = [
    LoopRow("alu", "arithmetic", 100_000_000, 1500.0, 750.0),
    LoopRow("fib", "calls", 100_000_000, 800.0, 100.0),
    ExitRow("VCPU.run()", 18_000_000.0, 450_000.0),
    ParallelRow(1.5e9, 2.7e9),
]


def shown(rows: list[Row], cpu: int | None = 1) -> str:
    screen = io.StringIO()
    Console(width=80, file=screen).print(tables(rows, cpu))
    return screen.getvalue()


def test_the_tables_show_the_ratios() -> None:
    text = shown(ROWS)
    for figure in ["2.00", "8.00", "4.00", "40.00", "1.80", "18.0 M", "Pinned to CPU 1."]:
        assert figure in text


def test_without_a_peer_there_is_no_ratio() -> None:
    rows: list[Row] = [LoopRow("alu", "arithmetic", 100_000_000, 1500.0, None)]
    assert parts(rows)["loops"][0]["ratio"] is None
    assert parts(rows)["loops_mean_ratio"] is None
    assert "does not allow pinning" in shown(rows, None)


def test_json_has_the_ratios() -> None:
    document = parts(ROWS)
    assert [loop["ratio"] for loop in document["loops"]] == [2.0, 8.0]
    assert document["loops_mean_ratio"] == pytest.approx(4.0)
    assert document["exits"][0]["ratio"] == 40.0
    assert document["parallel"][0]["ratio"] == pytest.approx(1.8)
