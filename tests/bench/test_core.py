"""The core's benchmark: it measures what it says, and finds an engine that goes wrong."""

from __future__ import annotations

import dataclasses
import io
import threading

import pytest
from rich.console import Console

from bench import core
from bench.core import ExitRow, LoopRow, ParallelRow, Row, Settings, StringRow
from bench.core_report import parts, tables
from bench.engines import CoreEngine, EngineError
from bench.idling import IdleCore, IdleMachine
from bench.loops import CODE_ADDRESS, LOOPS, PROGRAMS, STRINGS, Loop
from bench.memcpy import HostCopy

#: Each loop at a size of some 10,000 instructions or more, and what is in EAX then.
SMALL = {
    "alu": (1000, None),
    "copy": (1, None),
    "sieve": (1, 6542),
    "fib": (15, 610),
    "real16": (1, None),
    "mixed": (2, None),
    "movsd": (3, 0x30000),
    "stosd": (3, 0x30000),
}

ALU, COPY, SIEVE, FIB = LOOPS
REAL16, MIXED = PROGRAMS
MOVSD, STOSD = STRINGS

each_loop = pytest.mark.parametrize(
    "loop", [*LOOPS, *PROGRAMS, *STRINGS], ids=lambda loop: loop.name
)


@each_loop
def test_a_loop_gives_its_result(loop: Loop) -> None:
    engine = CoreEngine(loop)
    size, result = SMALL[loop.name]
    assert engine.run(size) > 0
    assert result in (None, engine.vcpu.eax)


@pytest.mark.parametrize("loop", [COPY, MOVSD], ids=lambda loop: loop.name)
def test_a_copy_is_like_its_source(loop: Loop) -> None:
    engine = CoreEngine(loop)
    engine.run(1)
    ram = engine.state().memory
    assert ram[0x180000:0x190000] == ram[0x100000:0x110000] != bytes(0x10000)


def test_a_fill_reaches_all_bytes() -> None:
    engine = CoreEngine(STOSD)
    engine.run(3)  # the last one stores what the two before it have filled
    ram = engine.state().memory
    assert ram[0x180000:0x190000] == (0x20000).to_bytes(4, "little") * 0x4000
    assert ram[0x190000:0x190004] == bytes(4)


def test_the_real_mode_loop_counts_each_byte() -> None:
    engine = CoreEngine(REAL16)
    engine.run(1)
    ram = memoryview(engine.state().memory)
    output, histogram = ram[0x30000:0x40000].tobytes(), ram[0x40000:0x40200].cast("H").tolist()
    assert histogram == [output.count(byte) for byte in range(256)]
    assert engine.vcpu.ds.base == 0x20000


def test_a_string_instruction_is_told_in_bytes() -> None:
    engine = CoreEngine(MOVSD)
    engine.run(5)
    assert engine.vcpu.eax == MOVSD.string_bytes // MOVSD.size * 5
    assert engine.instructions < 50


@each_loop
def test_a_loop_gives_the_same_again(loop: Loop) -> None:
    engine = CoreEngine(loop)
    size, _ = SMALL[loop.name]
    engine.run(size)
    first, instructions = engine.state(), engine.instructions
    engine.run(size)
    assert first.differences(engine.state()) == []
    assert engine.instructions == instructions
    assert instructions + loop.repetitions * size > 9000


@each_loop
def test_both_engines_agree(loop: Loop) -> None:
    peer = pytest.importorskip("bench.peer")
    size, _ = SMALL[loop.name]
    peer.check_agreement(CoreEngine(loop), peer.UnicornEngine(loop), size)


def test_another_result_is_found() -> None:
    peer = pytest.importorskip("bench.peer")
    with pytest.raises(EngineError, match="disagree on eax"):
        peer.check_agreement(CoreEngine(ALU), peer.UnicornEngine(SIEVE), 1)


class Miscounting(CoreEngine):
    """Runs as it should but says one instruction too many."""

    def run(self, size: int) -> float:
        seconds = super().run(size)
        self.instructions += 1
        return seconds


@pytest.mark.parametrize("loop", [ALU, MOVSD], ids=lambda loop: loop.name)
def test_another_number_of_instructions_is_found(loop: Loop) -> None:
    peer = pytest.importorskip("bench.peer")
    with pytest.raises(EngineError, match="does not take the core's"):
        peer.check_agreement(Miscounting(loop), peer.UnicornEngine(loop), 100)


def test_another_memory_and_flags_are_found() -> None:
    engine = CoreEngine(FIB)
    engine.run(5)
    state = engine.state()
    other = dataclasses.replace(state, flags=state.flags ^ 1, memory=bytes(len(state.memory)))
    assert state.differences(other) == ["flags", "memory"]


def test_a_program_that_does_not_halt_is_found() -> None:
    engine = CoreEngine(FIB)
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


def test_the_host_copies_all_bytes() -> None:
    host = HostCopy(0x10000)
    assert host.source != host.target
    assert host.copies(1) > 0
    assert host.source == host.target


def test_a_string_row_compares_bytes() -> None:
    pytest.importorskip("unicorn")
    row = core.measure_string(dataclasses.replace(MOVSD, size=10), Settings(repeats=1))
    assert row.bytes == 10 * 0x10000
    assert row.mips * 1e-3 * row.bytes / row.instructions == pytest.approx(row.bytes_per_ns)
    assert row.ratio is not None
    assert row.ratio > 0
    assert row.memcpy_bytes_per_ns > 0


ROWS: list[Row] = [
    LoopRow("alu", "arithmetic", 100_000_000, 1500.0, 750.0),
    LoopRow("fib", "calls", 100_000_000, 800.0, 100.0),
    ExitRow("VCPU.run()", 18_000_000.0, 450_000.0),
    ParallelRow(1.5e9, 2.7e9),
    LoopRow("mixed", "much code", 100_000_000, 300.0, 100.0, in_mean=False),
    StringRow("movsd", "REP MOVSD", 36_000, 1.25, 393_216_000, 20.5, 0.41, 33.5),
]


def shown(rows: list[Row], cpu: int | None = 1) -> str:
    screen = io.StringIO()
    Console(width=80, file=screen).print(tables(rows, cpu))
    return screen.getvalue()


def test_the_tables_show_the_ratios() -> None:
    text = shown(ROWS)
    for figure in [
        "2.00",
        "8.00",
        "4.00",
        "40.00",
        "1.80",
        "18.0 M",
        "Pinned to CPU 1.",
        "3.00",
        "20.50",
        "50.00",
        "33.50",
    ]:
        assert figure in text


def test_without_a_peer_there_is_no_ratio() -> None:
    rows: list[Row] = [LoopRow("alu", "arithmetic", 100_000_000, 1500.0, None)]
    assert parts(rows)["loops"][0]["ratio"] is None
    assert parts(rows)["loops_mean_ratio"] is None
    assert "does not allow pinning" in shown(rows, None)
    string = StringRow("movsd", "REP MOVSD", 36_000, 1.25, 393_216_000, 20.5, None, 33.5)
    assert parts([string])["strings"][0]["ratio"] is None
    assert "20.50" in shown([string])


def test_json_has_the_ratios() -> None:
    document = parts(ROWS)
    assert [loop["ratio"] for loop in document["loops"]] == [2.0, 8.0, 3.0]
    assert [loop["in_mean"] for loop in document["loops"]] == [True, True, False]
    assert document["strings"][0]["ratio"] == pytest.approx(50.0)
    assert document["loops_mean_ratio"] == pytest.approx(4.0)
    assert document["exits"][0]["ratio"] == 40.0
    assert document["parallel"][0]["ratio"] == pytest.approx(1.8)
