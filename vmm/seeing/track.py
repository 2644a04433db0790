"""The track of one vCPU in a timeline: its records as slices that leave no gap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmm.seeing.events import GUEST_PROCESS, arrow_end, instant, slice_of
from vmm.seeing.flood import Flood, floods
from x86core import (
    AGENT_HOST,
    AGENT_TIMER,
    AGENT_UNKNOWN,
    EXIT_NAMES,
    HLT_BLOCK,
    HLT_POLL,
    MWAIT_ADAPTIVE,
    MWAIT_FAULT,
    MWAIT_HALT,
    MWAIT_SCAN,
    MWAIT_TIMER,
    POLICY_PASSTHROUGH,
    RECORD_ENTRY,
    RECORD_EXIT,
    RECORD_HLT,
    RECORD_MWAIT,
    RECORD_START,
    WAKE_INTERRUPT,
    WAKE_KICK,
    WAKE_LIMIT,
    WAKE_NMI,
    WAKE_REQUEST,
    WAKE_START,
    WAKE_STORE,
)

CAUSES: Final = {
    WAKE_STORE: "store",
    WAKE_INTERRUPT: "interrupt",
    WAKE_NMI: "NMI",
    WAKE_START: "INIT or SIPI",
    WAKE_KICK: "kick",
    WAKE_REQUEST: "request in kvm_run",
    WAKE_LIMIT: "time limit",
}

_POLICIES: Final = {
    RECORD_HLT: {HLT_BLOCK: "block", HLT_POLL: "poll", POLICY_PASSTHROUGH: "passthrough"},
    RECORD_MWAIT: {
        MWAIT_FAULT: "fault",
        MWAIT_HALT: "halt",
        MWAIT_TIMER: "timer",
        MWAIT_SCAN: "scan",
        MWAIT_ADAPTIVE: "adaptive",
        POLICY_PASSTHROUGH: "passthrough",
    },
    RECORD_START: {HLT_BLOCK: ""},
}

_AGENTS: Final = {AGENT_HOST: "host", AGENT_TIMER: "its APIC timer", AGENT_UNKNOWN: "unknown"}

_INSTRUCTIONS: Final = {RECORD_HLT: "HLT", RECORD_MWAIT: "MWAIT"}

_WAITING: Final = "waiting for INIT or SIPI"

#: What stands where records found no room.
NOT_RECORDED: Final = "not recorded"


class Arrow(NamedTuple):
    """From who asked for a vCPU to the wait that this ended."""

    number: int
    name: str
    agent: int
    target: int
    at_ns: int


class Track:
    """Makes events of the records of a vCPU. `arrow` gets each arrow's beginning, and has numbered
    it by `next_arrow`. In virtual time exits take no time, and are instants.
    """

    def __init__(
        self,
        index: int,
        begin_ns: int,
        *,
        virtual: bool,
        next_arrow: Callable[[], int],
        arrow: Callable[[Arrow], object],
    ) -> None:
        self.index = index
        self._thread = index + 1
        self._cursor = begin_ns
        self._virtual = virtual
        self._inside = virtual
        self._reason: int | None = None  # of the exit that it is out for
        self._next_arrow = next_arrow
        self._arrow = arrow

    def take(self, records: NDArray[np.void]) -> Iterator[str]:
        """The events of records, which go on from those before."""
        done = 0
        for flood in () if self._virtual else floods(records):
            yield from self._each(records[done : flood.begin + 1])
            yield self._flood(flood, records[flood.end])
            done = flood.end + 1
        yield from self._each(records[done:])

    def finish(self, end_ns: int, waiting_since: int | None, waiting: str) -> Iterator[str]:
        """What was under way at the end; `waiting` as `VCPU.waiting` has it."""
        if not self._inside:
            if self._reason is not None:
                yield instant(GUEST_PROCESS, self._thread, self._cursor, self._name(self._reason))
            return
        if waiting_since is not None:
            yield from self._guest(max(waiting_since, self._cursor))
            name = _WAITING if waiting == "start" else f"{waiting.upper()} sleep"
            yield self._slice(name, "idle", end_ns, {"ended by": "nothing"})
        else:
            yield from self._guest(end_ns)

    def _each(self, records: NDArray[np.void]) -> Iterator[str]:
        for record in records.tolist():
            begin, end, asked_at, polled, lost, agent, kind, policy, cause, detail = record
            if lost:
                yield self._gap(begin, lost)
                self._inside = kind != RECORD_ENTRY
            if kind == RECORD_ENTRY:
                yield from self._enter(begin)
            elif kind == RECORD_EXIT:
                yield from self._exit(begin, detail)
            else:
                begin = max(begin, self._cursor)
                yield from self._wait(
                    kind, begin, end, asked_at, polled, agent, policy, cause, detail
                )

    def _flood(self, flood: Flood, last: np.void) -> str:
        """Many exits as one slice. The record before it has told where the vCPU was."""
        self._inside = last["kind"] == RECORD_ENTRY
        self._reason = None if self._inside else flood.reason
        args = {
            "exits": flood.exits,
            "guest ns": flood.guest_ns,
            "outside ns": flood.outside_ns,
        }
        name = f"{self._name(flood.reason)} × {flood.exits}"
        return self._slice(name, "exit", int(last["begin"]), args)

    def _slice(self, name: str, category: str, end: int, args: dict[str, Any] | None = None) -> str:
        """From where the track has come to, to `end`."""
        begin, self._cursor = self._cursor, max(self._cursor, end)
        return slice_of(
            GUEST_PROCESS, self._thread, begin, self._cursor - begin, name, category, args
        )

    def _guest(self, until: int) -> Iterator[str]:
        if until > self._cursor:
            yield self._slice("guest", "guest", until)

    def _gap(self, until: int, lost: int) -> str:
        self._reason = None
        return self._slice(NOT_RECORDED, "lost", until, {"records": lost})

    def _enter(self, at: int) -> Iterator[str]:
        if self._reason is not None:
            yield self._slice(self._name(self._reason), "exit", at)
        self._cursor = max(self._cursor, at)
        self._inside, self._reason = True, None

    def _exit(self, at: int, reason: int) -> Iterator[str]:
        yield from self._guest(at)
        if self._virtual:
            yield instant(GUEST_PROCESS, self._thread, self._cursor, self._name(reason))
            return
        self._inside, self._reason = False, reason

    def _wait(
        self,
        kind: int,
        begin: int,
        end: int,
        asked_at: int,
        polled: int,
        agent: int,
        policy: int,
        cause: int,
        detail: int,
    ) -> Iterator[str]:
        yield from self._guest(begin)
        args: dict[str, Any] = {"policy": _POLICIES[kind].get(policy, str(policy))}
        args["ended by"] = CAUSES[cause]
        if cause == WAKE_INTERRUPT:
            args["vector"] = f"{detail:#04x}"
        args["by"] = _AGENTS.get(agent, f"vCPU {agent}")
        if asked_at >= 0:
            args["asked at ns"] = asked_at
        spun = min(begin + polled, end)
        name = _INSTRUCTIONS.get(kind)
        if polled and name:
            whole = args if spun == end else {"policy": args["policy"]}
            yield self._slice(f"{name} poll", "idle", spun, whole)
        if spun < end or not polled:
            yield self._slice(f"{name} sleep" if name else _WAITING, "idle", end, args)
        if asked_at >= 0:
            # The arrow ends in the last slice, of which the last nanosecond is still a part.
            tip = max(begin, end - 1)
            number = self._next_arrow()
            self._arrow(Arrow(number, CAUSES[cause], agent, self.index, min(asked_at, tip)))
            yield arrow_end(GUEST_PROCESS, self._thread, tip, number, CAUSES[cause])

    def _name(self, reason: int) -> str:
        return EXIT_NAMES.get(reason, str(reason))
