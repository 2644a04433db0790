"""The host as a member of a ring, as a device that is told by a store and answers by one."""

from __future__ import annotations

import threading
import time
from random import Random

import x86core as x86
from tests.stress import layout
from tests.stress.layout import LINE
from tests.stress.mailboxes import Mailbox
from tests.stress.plan import Member


class HostMember(threading.Thread):
    """Polls its mailbox and stores with `Memory.write`, until STOP or until `closed` is set."""

    def __init__(
        self, memory: x86.Memory, member: Member, receiver: Mailbox, closed: threading.Event
    ) -> None:
        super().__init__(name="host", daemon=True)
        self._memory = memory
        self._member = member
        self._receiver = receiver
        self._closed = closed

    def run(self) -> None:
        memory, index = self._memory, self._member.index
        number, stop = 1, 0
        while not stop and self._receive(number):
            memory.write(layout.received_at(index), number.to_bytes(4, "little"))
            stop = memory.read(layout.STOP, 1)[0]
            self._send(number)
            memory.write(layout.sent_at(index), number.to_bytes(4, "little"))
            number += 1

    def _receive(self, number: int) -> bool:
        """Whether the token came before all was over."""
        box = self._member.mailbox
        token = (number % 256**box.flag_width).to_bytes(box.flag_width, "little")
        while self._memory.read(box.flag, box.flag_width) != token:
            if self._closed.is_set():
                return False
            time.sleep(0)
        return True

    def _send(self, number: int) -> None:
        box = self._receiver
        token = number.to_bytes(4, "little")
        if box.flag != box.at:
            self._memory.write(box.flag, token)
        if box.store.covers:
            self._memory.write(box.line - 16, bytes(LINE + 32))
        else:
            self._memory.write(box.at, token[: box.width])


class HostNoise:
    """Stores to other lines of the monitored pages, once at each call."""

    def __init__(self, memory: x86.Memory, pages: list[int], random: Random) -> None:
        self._memory = memory
        self._pages = pages
        self._random = random

    def __call__(self) -> None:
        size = self._random.choice((1, 4, 8, LINE))
        self._memory.write(self._random.choice(self._pages) + layout.NOISE_BY_HOST, bytes(size))
