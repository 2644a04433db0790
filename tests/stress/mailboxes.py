"""Where tokens arrive: a monitored line, and a store that touches it at one of its boundaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.stress import layout
from tests.stress.layout import LAYOUTS, LINE, PAGE
from tests.stress.stores import HOST_WRITE, HOST_WRITE_OVER, STORES, Store

WHOLE_LINE: Final = "the whole line"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where a member of a ring receives the token, and how it is stored there.

    The store is to `width` bytes from the address `at` on, in the monitored `line` or over its
    ends. The number of the token stands at `flag`, in `flag_width` bytes: at the same place, or
    somewhere else, where it is written just before.
    """

    line: int
    place: str
    store: Store
    at: int
    width: int
    flag: int
    flag_width: int


class Mailboxes:
    """Draws the mailboxes of a phase in the layout of that name.

    `in_line`: the numbers are in the monitored lines, and each mailbox has its bytes for itself.
    Otherwise the numbers are elsewhere, and any store to the lines will do. `changes`:
    in line, and each store changes a byte of the line itself, not only one before it. With
    `interrupts` there are no stores through ESP.
    """

    def __init__(
        self, random: Random, name: str, *, in_line: bool, changes: bool, interrupts: bool
    ) -> None:
        self._random = random
        self._lines = LAYOUTS[name](random)
        self._in_line = in_line
        self._changes = changes
        self._beside = random.random() < 0.5 and LAYOUTS[name] is not layout.beside_code
        self._stores = [
            store
            for store in STORES
            if (store.carries or not self._in_line) and not (store.on_stack and interrupts)
        ]
        self._taken: set[int] = set()

    def draw(self, index: int, *, from_host: bool) -> Mailbox:
        """The mailbox of a member, which the host fills, or a vCPU."""
        while True:
            line = next(self._lines)
            store = self._draw_store(from_host)
            width = self._random.choice(store.widths)
            places = [(WHOLE_LINE, line)] if store.covers else list(self._places(line, width))
            self._random.shuffle(places)
            for place, at in places:
                if not self._in_line:
                    flag = self._flag(index, line)
                    return Mailbox(line, place, store, at, width, flag, flag_width=4)
                taken = set(range(at, at + width))
                if not taken & self._taken:
                    self._taken |= taken
                    return Mailbox(line, place, store, at, width, at, min(width, 4))

    def _draw_store(self, from_host: bool) -> Store:
        if not from_host:
            return self._random.choice(self._stores)
        return HOST_WRITE if self._in_line else self._random.choice((HOST_WRITE, HOST_WRITE_OVER))

    def _places(self, line: int, width: int) -> Iterator[tuple[str, int]]:
        yield "the first bytes", line
        yield "the last bytes", line + LINE - width
        yield "inside", line + self._random.randrange(1, LINE - width)
        if width == 1:
            return
        part = self._random.randrange(1, width)
        end = line + LINE
        yield "over a page's end" if end % PAGE == 0 else "over the end", end - part
        if not self._changes:
            yield "over a page's start" if line % PAGE == 0 else "over the start", line - part

    def _flag(self, index: int, line: int) -> int:
        """On the page of the line, where its stores are false faults, or on a page for flags."""
        if self._beside and index < layout.MOST_VCPUS:
            return (line & -PAGE) + layout.FLAGS_BESIDE + LINE * index
        return layout.FLAGS + LINE * index
