"""Small operating systems and monitors, a source for each, do what they are there to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm import Machine, Outcome

FOLDER = Path(__file__).parent
TIMEOUT = 60.0


def console_of(
    name: str,
    *,
    vcpus: int = 1,
    start: str = "all",
    idle: str = "fault",
    tick: float = 0,
    clock: str = "virtual",
    status: int = 0,
) -> str:
    """What the guest prints. In virtual time every run is alike."""
    guest = FOLDER / f"{name}.S"
    machine = Machine.load(guest, "4M", vcpus, idle, start=start, tick=tick, clock=clock)
    result = machine.run(TIMEOUT)
    assert result.outcome is Outcome.EXIT_PORT, f"{result.explanation}\n{result.console}"
    assert result.exit_code == status, result.console
    return result.console


def test_a_task_of_ring_3() -> None:
    first, *faults = console_of("user", tick=1000, status=7).split("#")
    assert first == ">tick\ntick\ntick\n"
    privileged = ["GP 00000000\n"] * 4
    gate_and_selector = ["GP 00000102\n", "GP 00000010\n"]
    not_present_or_not_allowed = [5, 7, 7, 4, 4]
    pages = [f"PF {error:08X}\n" for error in not_present_or_not_allowed]
    assert faults == privileged + gate_and_selector + pages


class Pager:
    """The kernel of demand.S as a model: what it counts, and the memory that the program sees."""

    FRAMES = 8

    def __init__(self, pages: int = 64) -> None:
        self.words = [0] * (pages * 1024)
        self.faults = self.writes = self.stored = self.fetched = 0
        self.resident: dict[int, bool] = {}  # pages, the one that goes next first: whether changed
        self.on_disk: set[int] = set()

    def touch(self, page: int, *, write: bool) -> None:
        if page not in self.resident:
            self.faults += 1
            self.writes += write
            if len(self.resident) == self.FRAMES:
                oldest = next(iter(self.resident))
                self.stored += self.resident.pop(oldest)
                self.on_disk.add(oldest)
            self.fetched += page in self.on_disk
            self.resident[page] = False
        self.resident[page] |= write

    def load(self, word: int) -> int:
        self.touch(word >> 10, write=False)
        return self.words[word]

    def store(self, word: int, value: int) -> None:
        self.touch(word >> 10, write=True)
        self.words[word] = value & 0xFFFF_FFFF

    def report(self, text: str) -> str:
        counts = (self.faults, self.writes, self.stored, self.fetched)
        return text + "".join(f"{count:08X} " for count in counts) + "\n"


def test_demand_paging() -> None:
    pager, expected = Pager(), ""
    for page in range(64):
        pager.store(page * 1025, page * page)
    expected += pager.report("written: ")
    total = sum(pager.load(page * 1025) for page in range(64))
    expected += pager.report(f"{total:08X} read: ")
    for page in range(63):
        # It is read with the intent to write, so that already the first fault is one of a write.
        pager.touch(page, write=True)
        pager.touch(page + 1, write=True)
        last, first = page * 1024 + 1023, page * 1024 + 1024
        value = (pager.words[last] >> 16 | (pager.words[first] & 0xFFFF) << 16) + 0x01020304
        pager.store(last, pager.words[last] & 0xFFFF | (value & 0xFFFF) << 16)
        pager.store(first, pager.words[first] & 0xFFFF_0000 | value >> 16)
    expected += pager.report("changed: ")
    for word in range(32 * 1024):
        pager.store(32 * 1024 + word, pager.load(word))
    expected += pager.report("copied: ")
    check = 0
    for word in range(64 * 1024):
        check = (check << 1 | check >> 31) & 0xFFFF_FFFF ^ pager.load(word)
    expected += pager.report(f"{check:08X} read: ")
    assert console_of("demand") == expected


def test_a_virtual_8086_monitor() -> None:
    expected = "from the program\n+0101out 00000080 0000005A\nhlt\n"
    assert console_of("virtual8086", tick=10_000) == expected


def test_tasks_that_the_processor_switches() -> None:
    assert console_of("tasks") == "a1b2a1b2/b2/b2a\n"


def test_a_double_fault_through_a_task_gate() -> None:
    pushes = 0x1000 // 4 + 1  # the last one finds no page
    double_fault = f"#DF 00000000 0000EFFC {pushes:08X}\n"
    assert console_of("double_fault") == "#PF 00000002\n" + 2 * double_fault


@pytest.mark.parametrize("clock", ["virtual", "wall"])
@pytest.mark.parametrize("idle", ["fault", "nop", "exit"])
def test_processors_that_begin_with_paging(idle: str, clock: str) -> None:
    expected = "arrived 00000003 finished 00000006\n"
    console = console_of("processors", vcpus=4, start="bootstrap", idle=idle, clock=clock)
    assert console == expected
