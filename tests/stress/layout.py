"""Guest memory of a phase, and where in it the mailboxes lie.

    0x01000  GDT      0x02000  IDT      0x03000  handlers
    0x04000  STOP: not 0 when the tokens are to be passed on once more and no further
    0x05000  flags that are not on the page of a mailbox, a line for each vCPU
    0x05F00  a line that is monitored instead of the right one, just before it
    0x06000  counters, a line for each vCPU: tokens received and sent, spurious returns from MWAIT
    0x08000  stacks, 1 KiB for each vCPU
    0x11000  pages for mailboxes
    0x40000  code, a page for each vCPU; a mailbox may lie at its end

Of a page with mailboxes lines 16 to 47 may hold flags, and 49 and 50 are stored to by all who want
to disturb; mailboxes have the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

PAGE: Final = 0x1000
LINE: Final = 64

RAM: Final = 512 << 10
GDT: Final = 0x1000
IDT: Final = 0x2000
HANDLERS: Final = 0x3000
STOP: Final = 0x4000
FLAGS: Final = 0x5000
DECOY: Final = 0x5F00
COUNTERS: Final = 0x6000
STACKS: Final = 0x8000
MAILBOXES: Final = 0x11000
CODE: Final = 0x40000

#: As many as there are stacks and lines for flags.
MOST_VCPUS: Final = 32
_PAGES: Final = 14

#: Offsets in a page with mailboxes.
FLAGS_BESIDE: Final = 16 * LINE
NOISE_BY_VCPUS: Final = 49 * LINE
NOISE_BY_HOST: Final = 50 * LINE

_FRONT: Final = range(15)
_BACK: Final = range(52, 64)


def received_at(index: int) -> int:
    """The counter of tokens that a vCPU has received; the number of the latest one."""
    return COUNTERS + LINE * index


def sent_at(index: int) -> int:
    """The number of the latest token that a vCPU has sent: its store is over and done."""
    return received_at(index) + 4


def spurious_at(index: int) -> int:
    """The counter of returns from MWAIT that found no token."""
    return received_at(index) + 8


def stack_top(index: int) -> int:
    return STACKS + 0x400 * (index + 1)


def code_at(index: int) -> int:
    return CODE + PAGE * index


def a_page_each(random: Random) -> Iterator[int]:
    """Any line, but the first and the last one of a page more often."""
    for number in count():
        line = random.choice((0, 63, random.choice((*_FRONT, *_BACK))))
        yield MAILBOXES + PAGE * (number % _PAGES) + LINE * line


def one_page(random: Random) -> Iterator[int]:
    """Lines of the same page, side by side as a rule."""
    lines = [*_BACK, *_FRONT]
    while True:
        random.shuffle(lines)
        yield from (MAILBOXES + PAGE + LINE * line for line in lines)


def one_line(random: Random) -> Iterator[int]:
    """Always the same line; another one where that is full."""
    for line in one_page(random):
        yield from [line] * 8


def around_a_page_end(_random: Random) -> Iterator[int]:
    """The last line of a page and the first line of the next."""
    for number in count():
        yield MAILBOXES + PAGE * (number // 2 * 2 % _PAGES + 1) - LINE * (number % 2 == 0)


def beside_code(random: Random) -> Iterator[int]:
    """On the pages of the vCPUs' own code. Their last line has the next one's code behind it."""
    for number in count():
        yield code_at(number // 2 % MOST_VCPUS) + LINE * random.choice(_BACK[:-1])


LAYOUTS: Final = {
    "a page each": a_page_each,
    "lines of one page": one_page,
    "one line": one_line,
    "around a page's end": around_a_page_end,
    "on a page with code": beside_code,
}
