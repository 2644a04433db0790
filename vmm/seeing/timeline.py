"""A timeline of a machine: a track for each vCPU, one for each thread that does deferred work, and
one for the host, with arrows from who stored, interrupted or kicked to the wait that this ended.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vmm.seeing.events import (
    GUEST_PROCESS,
    HOST_PROCESS,
    WORK_PROCESS,
    arrow_begin,
    process_name,
    slice_of,
    thread_name,
)
from vmm.seeing.observer import ObservedMachine
from vmm.seeing.trace_file import TraceFile
from vmm.seeing.track import Arrow, Track
from x86core import AGENT_HOST, VCPU

#: Seconds between two times that records are taken.
_PERIOD: Final = 0.01

#: And when they come as fast as that: more of one vCPU at a time than a quarter of its room.
_SHORT_PERIOD: Final = 0.001
_MANY: Final = 8192

#: Tasks that wait to be written; of more only the number is kept.
_MOST_TASKS: Final = 65536


class _Lanes:
    """Tracks of one kind, as many as are needed for each to be in order of time."""

    def __init__(self, process: int, name: str) -> None:
        self._process = process
        self._name = name
        self._ends: list[int] = []

    def place(self, at_ns: int, length: int) -> tuple[int, list[str]]:
        """The thread number of one that is free then; and its name, if it is new."""
        for number, end in enumerate(self._ends):
            if end <= at_ns:
                self._ends[number] = at_ns + length
                return number + 1, []
        self._ends.append(at_ns + length)
        number = len(self._ends)
        name = self._name if number == 1 else f"{self._name} ({number})"
        return number, [thread_name(self._process, number, name)]


class Timeline:
    """Writes what vCPUs do into a file for ui.perfetto.dev or chrome://tracing, as it happens.

    Used by a machine (`Machine(observers=)`) or by hand: `start`, `drain` now and then, `finish`.
    Raises TimelineError, at once when the file cannot be opened; out of `Machine.run`, which it
    ends, when it cannot be written any more.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = TraceFile(path)
        self._vcpus: tuple[VCPU, ...] = ()
        self._tracks: list[Track] = []
        self._arrows: list[Arrow] = []
        self._host = _Lanes(HOST_PROCESS, "host")
        self._tasks: deque[tuple[str, str, int, int]] = deque()
        self._task_threads: dict[str, int] = {}
        self._tasks_lost = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._virtual = False
        self._epoch = 0
        self.failed = False

    @property
    def lost(self) -> int:
        """How many records and tasks are not in the file, because they came too fast."""
        return sum(vcpu.records_lost for vcpu in self._vcpus) + self._tasks_lost

    @contextmanager
    def watch(self, machine: ObservedMachine) -> Iterator[None]:
        """Write while inside."""
        self.start(machine.vcpus)
        machine.work.observers.append(self.worked)
        thread = threading.Thread(
            target=self._run, args=(machine.fail,), name="timeline", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            if not self.failed:
                self.finish()

    def start(self, vcpus: Sequence[VCPU]) -> None:
        """Begin to record vCPUs of one memory, which are out of the guest."""
        self._vcpus = tuple(vcpus)
        memory = vcpus[0].memory
        self._virtual, self._epoch = memory.virtual_time, memory.epoch
        numbers = itertools.count(1)
        for vcpu in self._vcpus:
            track = Track(
                vcpu.index,
                vcpu.time,
                virtual=self._virtual,
                next_arrow=lambda: next(numbers),
                arrow=self._arrows.append,
            )
            self._tracks.append(track)
            vcpu.recorded = True
        self._file.begin()
        self._file.add(
            [
                process_name(GUEST_PROCESS, "vCPUs"),
                process_name(WORK_PROCESS, "deferred work"),
                process_name(HOST_PROCESS, "host"),
                *(
                    thread_name(GUEST_PROCESS, vcpu.index + 1, f"vCPU {vcpu.index}")
                    for vcpu in self._vcpus
                ),
            ]
        )

    def worked(self, name: str, began_ns: int, ended_ns: int) -> None:
        """A piece of work was done, on this thread; the times are the host's monotonic clock."""
        if len(self._tasks) >= _MOST_TASKS:
            with self._lock:
                self._tasks_lost += 1
            return
        if self._virtual:
            began_ns, length = self._now(), 0
        else:
            began_ns, length = began_ns - self._epoch, ended_ns - began_ns
        self._tasks.append((name, threading.current_thread().name, began_ns, length))

    def drain(self) -> int:
        """Write what there is; how many records one vCPU had at most. Raises TimelineError."""
        most = 0
        for vcpu, track in zip(self._vcpus, self._tracks, strict=True):
            records = vcpu.take_records()
            most = max(most, len(records))
            self._file.add(track.take(records))
        self._file.add(self._arrow_events())
        self._file.add(self._task_events())
        return most

    def finish(self) -> None:
        """Write the rest, and complete the file. Raises TimelineError."""
        self.drain()
        end_ns = self._now()
        for vcpu, track in zip(self._vcpus, self._tracks, strict=True):
            self._file.add(track.finish(end_ns, vcpu.waiting_since, vcpu.waiting))
            vcpu.recorded = False
        self._file.finish(lost=self.lost, clock="virtual" if self._virtual else "host")

    def _now(self) -> int:
        return max(vcpu.time for vcpu in self._vcpus)

    def _run(self, fail: Callable[[BaseException], object]) -> None:
        try:
            period = _PERIOD
            while not self._over.wait(period):
                period = _SHORT_PERIOD if self.drain() > _MANY else _PERIOD
        except BaseException as failure:
            self.failed = True
            fail(failure)

    def _arrow_events(self) -> Iterator[str]:
        arrows = sorted(self._arrows, key=lambda arrow: arrow.at_ns)
        self._arrows.clear()
        for arrow in arrows:
            process, thread = GUEST_PROCESS, arrow.agent + 1
            if arrow.agent == AGENT_HOST:
                process = HOST_PROCESS
                thread, names = self._host.place(arrow.at_ns, 1)
                yield from names
                name = f"{arrow.name} to vCPU {arrow.target}"
                yield slice_of(process, thread, arrow.at_ns, 1, name, "host")
            yield arrow_begin(process, thread, arrow.at_ns, arrow.number, arrow.name)

    def _task_events(self) -> Iterator[str]:
        threads = self._task_threads
        while self._tasks:
            name, worker, began_ns, length = self._tasks.popleft()
            if worker not in threads:
                threads[worker] = len(threads) + 1
                yield thread_name(WORK_PROCESS, threads[worker], f"by {worker}")
            yield slice_of(WORK_PROCESS, threads[worker], began_ns, length, name, "work")
