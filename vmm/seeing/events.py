"""Trace events as JSON text. Times are in ns and written in µs, as the format has them."""

from __future__ import annotations

import json
from typing import Any, Final

#: Processes of a timeline: groups of tracks.
GUEST_PROCESS: Final = 1
WORK_PROCESS: Final = 2
HOST_PROCESS: Final = 3


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"


def slice_of(
    process: int,
    thread: int,
    begin: int,
    length: int,
    name: str,
    category: str,
    args: dict[str, Any] | None = None,
) -> str:
    """Something that took its time."""
    more = f',"args":{json.dumps(args)}' if args else ""
    return (
        f'{{"ph":"X","pid":{process},"tid":{thread},"ts":{_time(begin)},"dur":{_time(length)},'
        f'"name":{json.dumps(name)},"cat":"{category}"{more}}}'
    )


def instant(process: int, thread: int, at: int, name: str) -> str:
    """Something that took none."""
    return (
        f'{{"ph":"i","s":"t","pid":{process},"tid":{thread},"ts":{_time(at)},'
        f'"name":{json.dumps(name)},"cat":"exit"}}'
    )


def arrow_begin(process: int, thread: int, at: int, number: int, name: str) -> str:
    """Where an arrow begins: in the slice that is there at that time."""
    return _arrow("s", process, thread, at, number, name)


def arrow_end(process: int, thread: int, at: int, number: int, name: str) -> str:
    """Where it ends: likewise."""
    return _arrow("f", process, thread, at, number, name)


def _arrow(phase: str, process: int, thread: int, at: int, number: int, name: str) -> str:
    binds = ',"bp":"e"' if phase == "f" else ""
    return (
        f'{{"ph":"{phase}","id":{number},"pid":{process},"tid":{thread},"ts":{_time(at)},'
        f'"name":{json.dumps(name)},"cat":"wake"{binds}}}'
    )


def process_name(process: int, name: str) -> str:
    """What a group of tracks is called."""
    args = json.dumps({"name": name})
    return f'{{"ph":"M","pid":{process},"tid":0,"name":"process_name","args":{args}}}'


def thread_name(process: int, thread: int, name: str) -> str:
    """What a track is called."""
    args = json.dumps({"name": name})
    return f'{{"ph":"M","pid":{process},"tid":{thread},"name":"thread_name","args":{args}}}'
