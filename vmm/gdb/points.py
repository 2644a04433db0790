"""Breakpoints and watchpoints as gdb inserts them (packets Z0 to Z4), for the vCPUs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from x86core import VCPU, WATCH_READ, WATCH_WRITE

#: Packets Z2, Z3 and Z4: how the stop is reported, and which accesses it is for.
_WATCHES = {
    "2": ("watch", WATCH_WRITE),
    "3": ("rwatch", WATCH_READ),
    "4": ("awatch", WATCH_READ | WATCH_WRITE),
}
_BREAKS = {"0": "swbreak", "1": "hwbreak"}
_KINDS = {"read": WATCH_READ, "write": WATCH_WRITE}


class Point(NamedTuple):
    """`kind` is the digit of the packet; `length` is in bytes, and unused for a breakpoint."""

    kind: str
    address: int
    length: int


class Points:
    """What is inserted. Neither kind of breakpoint changes guest memory."""

    def __init__(self) -> None:
        self._points: set[Point] = set()

    def insert(self, point: Point, vcpus: Iterable[VCPU]) -> None:
        """Raises ValueError, and inserts nothing, for what the vCPUs refuse."""
        self._apply(self._points | {point}, vcpus)

    def remove(self, point: Point, vcpus: Iterable[VCPU]) -> None:
        """One that is not there is removed already."""
        self._apply(self._points - {point}, vcpus)

    def clear(self, vcpus: Iterable[VCPU]) -> None:
        """Remove all."""
        self._apply(set(), vcpus)

    def reason(self, cause: str, address: int) -> str:
        """How the stop by a `VCPU.debug_exit` is reported; "" when nothing is there any more."""
        for kind, name in _BREAKS.items():
            if cause == "breakpoint" and any(p[:2] == (kind, address) for p in self._points):
                return name
        for kind, address_of, length in sorted(self._points):
            name, accesses = _WATCHES.get(kind, ("", 0))
            if _KINDS.get(cause, 0) & accesses and address_of <= address < address_of + length:
                return name
        return ""

    def watches(self, name: str, address: int) -> bool:
        """Whether there is a watchpoint at an address for which `reason` gives this name."""
        return any(
            _WATCHES.get(point.kind, ("", 0))[0] == name
            and point.address <= address < point.address + point.length
            for point in self._points
        )

    def _apply(self, points: set[Point], vcpus: Iterable[VCPU]) -> None:
        breakpoints = [point.address for point in points if point.kind in _BREAKS]
        watchpoints = [
            (address, length, _WATCHES[kind][1])
            for kind, address, length in points
            if kind in _WATCHES
        ]
        for vcpu in vcpus:
            vcpu.set_guest_debug(breakpoints, watchpoints)
        self._points = points
