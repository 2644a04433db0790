"""The benchmark of protected mode: guests do what is measured, and one that does not is found."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest
from rich.console import Console

from bench.core import Row
from bench.core_report import parts, tables
from bench.engines import CoreEngine, EngineError
from bench.loops import LARGE_PAGE, LOOPS, PAGE_DIRECTORY, SMALL_PAGE, Loop
from bench.protection import (
    EVENTS,
    PAGED_LOOPS,
    Event,
    EventEngine,
    EventRow,
    PagedRow,
    measure_event,
    measure_paged,
)

BY_NAME = {event.loop.name: event for event in EVENTS}
SIZE = 50
DIRTY = 0x40

each_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.loop.name)
each_loop = pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
each_page_size = pytest.mark.parametrize("page_size", [SMALL_PAGE, LARGE_PAGE])


@each_event
def test_events_take_place_again_and_again(event: Event) -> None:
    engine = EventEngine(event)
    assert engine.run(SIZE) > 0
    first = engine.state()
    assert engine.run(SIZE) > 0
    assert first.differences(engine.state()) == []
    assert event.handled or event.misses


@pytest.mark.parametrize("name", ["gate", "ring", "ipi", "fault"])
def test_an_event_that_no_handler_counts_is_found(name: str) -> None:
    engine = EventEngine(BY_NAME[name])
    ram = engine.vcpu.memory.read(0, 0x10000)
    engine.vcpu.memory.write(0, ram.replace(b"\x40", b"\x90"))  # INC EAX
    with pytest.raises(EngineError, match="handled"):
        engine.run(SIZE)


def test_handlers_run_at_level_0_and_return_to_level_3() -> None:
    engine = EventEngine(BY_NAME["ring"])
    engine.run(SIZE)
    # The last one was of the interrupt that ends the program.
    esp = engine.vcpu.esp
    eip, code, _, _, stack = struct.unpack("<5I", engine.vcpu.memory.read(esp, 20))
    assert (engine.vcpu.cpl, code & 3, stack & 3) == (0, 3, 3)
    assert eip >> 12 != engine.vcpu.eip >> 12


def test_page_faults_are_page_faults() -> None:
    engine = EventEngine(BY_NAME["fault"])
    engine.run(SIZE)
    assert engine.vcpu.last_event == 14
    assert engine.vcpu.cr2 == 0x200000


@pytest.mark.parametrize("name", ["walk", "invlpg", "cr3"])
def test_misses_that_do_not_take_place_are_found(name: str) -> None:
    event = BY_NAME[name]
    with pytest.raises(EngineError, match="TLB misses"):
        EventEngine(replace(event, misses=event.misses + 1)).run(SIZE)


def test_misses_that_are_too_many_are_found() -> None:
    with pytest.raises(EngineError, match="TLB misses"):
        EventEngine(replace(BY_NAME["cr3"], misses=1)).run(SIZE)


@each_page_size
@each_loop
def test_a_paged_loop_does_as_without_paging(loop: Loop, page_size: int) -> None:
    plain, paged = CoreEngine(loop), CoreEngine(replace(loop, page_size=page_size))
    plain.run(5)
    paged.run(5)
    assert paged.vcpu.cr0 & 0x80000000
    assert paged.state().registers == plain.state().registers
    assert paged.instructions == plain.instructions
    assert paged.state().memory[:PAGE_DIRECTORY] == plain.state().memory[:PAGE_DIRECTORY]


def test_pages_that_a_loop_stores_to_are_dirty() -> None:
    engine = CoreEngine(replace(LOOPS[1], page_size=SMALL_PAGE))
    engine.run(1)
    table = struct.unpack("<1024I", engine.vcpu.memory.read(PAGE_DIRECTORY + SMALL_PAGE, 4096))
    dirty = [page for page, entry in enumerate(table) if entry & DIRTY]
    assert dirty == list(range(0x180, 0x190))


def test_both_engines_agree_under_paging() -> None:
    peer = pytest.importorskip("bench.peer")
    for loop in LOOPS:
        form = replace(loop, page_size=SMALL_PAGE)
        peer.check_agreement(CoreEngine(form), peer.UnicornEngine(form), 3)


@each_event
def test_both_engines_agree_on_what_both_can(event: Event) -> None:
    peer = pytest.importorskip("bench.peer")
    core = EventEngine(event)
    if event.peer:
        peer.check_agreement(core, peer.UnicornEngine(event.loop), SIZE)
    elif event.handled:
        with pytest.raises(EngineError, match="Unicorn"):
            peer.check_agreement(core, peer.UnicornEngine(event.loop), SIZE)


def test_a_peer_without_paging_is_found() -> None:
    peer = pytest.importorskip("bench.peer")
    form = replace(LOOPS[1], page_size=SMALL_PAGE)
    with pytest.raises(EngineError, match="disagree on memory"):
        peer.check_agreement(CoreEngine(form), peer.UnicornEngine(LOOPS[1]), 1)


def test_rows_are_measured() -> None:
    paged = measure_paged(replace(PAGED_LOOPS[0], size=1000), 1, peer=False)
    assert min(paged.mips, paged.unpaged_mips, paged.large_page_mips) > 0
    assert paged.peer_ratio is None
    event = BY_NAME["gate"]
    event = replace(event, loop=replace(event.loop, size=SIZE))
    row = measure_event(event, 1, peer=True)
    assert row.events == SIZE
    assert row.nanoseconds > 0
    assert row.peer_nanoseconds is None


def test_a_row_beside_the_peer_is_measured() -> None:
    pytest.importorskip("unicorn")
    event = BY_NAME["invlpg"]
    event = replace(event, loop=replace(event.loop, size=SIZE))
    row = measure_event(event, 1, peer=True)
    assert row.ratio is not None
    assert row.ratio > 0
    paged = measure_paged(replace(PAGED_LOOPS[0], size=1000), 1, peer=True)
    assert paged.peer_ratio is not None


ROWS: list[Row] = [
    PagedRow("copy", "64 KiB copy", 1000.0, 970.0, 990.0, 200.0, 188.0),
    EventRow("walk", "TLB miss", 1000, 28.4, None),
    EventRow("invlpg", "INVLPG and refill", 1000, 50.0, 1100.0),
]


def test_the_tables_show_the_rows() -> None:
    screen = io.StringIO()
    Console(width=80, file=screen).print(tables(ROWS, 1))
    text = screen.getvalue()
    for figure in ["1,000", "0.97", "0.99", "0.94", "28 ns", "1.10 µs", "22.00", "refill"]:
        assert figure in text


def test_json_has_the_rows_with_their_ratios() -> None:
    document = parts(ROWS)
    assert document["paged"][0]["ratio"] == pytest.approx(0.97)
    assert document["paged"][0]["large_page_ratio"] == pytest.approx(0.99)
    assert document["paged"][0]["peer_ratio"] == pytest.approx(0.94)
    assert [row["ratio"] for row in document["events"]] == [None, pytest.approx(22.0)]
