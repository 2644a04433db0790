"""Whether a file is what trace viewers take, by the rules of Chrome's Trace Event Format."""

from __future__ import annotations

import itertools
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

Track = tuple[int, int]

#: µs.
_NANOSECOND = Decimal("0.001")


@dataclass
class Trace:
    """What a file holds: slices by track in the order of the file, and arrows by number."""

    tracks: dict[Track, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[Track, str] = field(default_factory=dict)
    processes: dict[int, str] = field(default_factory=dict)
    begins: dict[int, dict[str, Any]] = field(default_factory=dict)
    ends: dict[int, dict[str, Any]] = field(default_factory=dict)
    instants: list[dict[str, Any]] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)

    def track(self, process: str, name: str) -> list[dict[str, Any]]:
        """The slices of a track, by the names of its process and its thread."""
        (found,) = (
            track
            for track, thread in self.names.items()
            if thread == name and self.processes[track[0]] == process
        )
        return self.tracks[found]

    def slice_names(self) -> set[str]:
        """Of all vCPUs, without numbers of exits."""
        return {
            event["name"].split(" ×")[0]
            for (process, _), events in self.tracks.items()
            if self.processes[process] == "vCPUs"
            for event in events
        }


def _nested(events: list[dict[str, Any]]) -> None:
    """Slices of a track begin in order, and lie within one another or apart."""
    open_until: list[Decimal] = []
    before = Decimal(-1)
    for event in events:
        begin, end = event["ts"], event["ts"] + event["dur"]
        assert begin >= before, f"out of order: {event}"
        assert event["dur"] >= 0, event
        before = begin
        while open_until and open_until[-1] <= begin:
            open_until.pop()
        assert not open_until or end <= open_until[-1], f"overlaps: {event}"
        open_until.append(end)


def _bound(trace: Trace, event: dict[str, Any]) -> None:
    """An end of an arrow lies in a slice of its track, the first moment of it included."""
    at = event["ts"]
    slices = trace.tracks[event["pid"], event["tid"]]
    assert any(s["ts"] <= at < s["ts"] + s["dur"] or at == s["ts"] for s in slices), (
        f"in no slice: {event}"
    )


def read_trace(path: Path, *, arrows: int = 2000) -> Trace:
    """The trace in a file, which has been found valid; of its arrows the first so many."""
    document = json.loads(path.read_text(), parse_float=Decimal)
    trace = Trace(other=document["otherData"])
    assert document["displayTimeUnit"] == "ns"
    for event in document["traceEvents"]:
        at = (event["pid"], event["tid"])
        match event["ph"]:
            case "M" if event["name"] == "process_name":
                assert event["pid"] not in trace.processes
                trace.processes[event["pid"]] = event["args"]["name"]
            case "M":
                assert event["name"] == "thread_name"
                assert at not in trace.names
                trace.names[at] = event["args"]["name"]
            case "X":
                trace.tracks[at].append(event)
            case "i":
                trace.instants.append(event)
            case "s" | "f":
                side = trace.begins if event["ph"] == "s" else trace.ends
                assert event["id"] not in side, f"twice: {event}"
                side[event["id"]] = event
            case other:
                raise AssertionError(f"unknown phase {other!r}")
    assert set(trace.tracks) <= set(trace.names), "tracks without a name"
    assert {process for process, _ in trace.names} <= set(trace.processes)
    for events in trace.tracks.values():
        _nested(events)
    assert set(trace.begins) == set(trace.ends), "arrows with one end"
    for number in sorted(trace.begins)[:arrows]:
        begin, end = trace.begins[number], trace.ends[number]
        assert (begin["name"], begin["cat"]) == (end["name"], end["cat"])
        assert begin["ts"] <= end["ts"]
        assert end["bp"] == "e"
        _bound(trace, begin)
        _bound(trace, end)
    return trace


def check_vcpu_tracks(trace: Trace) -> None:
    """The slices of each vCPU follow one another without a gap."""
    for (process, thread), events in trace.tracks.items():
        if trace.processes[process] != "vCPUs":
            continue
        for event, following in itertools.pairwise(events):
            end = event["ts"] + event["dur"]
            assert end == following["ts"], f"gap on {trace.names[process, thread]} after {event}"


if __name__ == "__main__":
    check_vcpu_tracks(read_trace(Path(sys.argv[1])))
