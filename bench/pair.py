"""The guest `pair.S` seen from the VMM: its mailbox, flag and latencies.

The addresses are those that the head of vmm/guests/pair.S documents.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from x86core import Memory

#: The numbers of the two vCPUs.
WAITER, WAKER = 0, 1

#: Bytes of guest memory that the pair needs.
MEMORY_SIZE = 2 << 20

_PARAMETERS_ADDRESS = 0x10000
_STOP_ADDRESS = _PARAMETERS_ADDRESS + 12
_WAITER_ADDRESS = 0x11000
_STORES_ADDRESS = 0x12010
_RING_ADDRESS = 0x100000
_RING_SIZE = 1 << 18

_WAITER_COUNTERS = np.dtype([("handoffs", "<u4"), ("parked", "<u4"), ("spurious", "<u8")])


class Pair:
    """The mailbox in the memory of a machine that runs `pair.S`; reads are live."""

    def __init__(self, memory: Memory) -> None:
        ram = memory.view()
        self._memory = memory
        self._waiter = ram[_WAITER_ADDRESS:][: _WAITER_COUNTERS.itemsize].view(_WAITER_COUNTERS)
        self._stores = ram[_STORES_ADDRESS:][:4].view("<u4")
        self._ring = ram[_RING_ADDRESS:][: 4 * _RING_SIZE].view("<u4")

    def configure(
        self, interval_ns: int, false_stores: int = 0, wanted: int = 0, at_once: int = 0
    ) -> None:
        """Set what the waker does; before the machine runs.

        It rests `interval_ns` between a handoff and the next wake, but not before it has made
        `at_once` handoffs. It stores `false_stores` times to another line of the monitored page
        before each wake, and ends the machine after `wanted` handoffs, 0 for never. Raises
        struct.error for what does not fit in 32 bits.
        """
        parameters = struct.pack("<5I", interval_ns, wanted, false_stores, 0, at_once)
        self._memory.write(_PARAMETERS_ADDRESS, parameters)

    def stop(self) -> None:
        """Have the pair end its machine after the handoff under way."""
        self._memory.write(_STOP_ADDRESS, struct.pack("<I", 1))

    @property
    def handoffs(self) -> int:
        """Wakes that the waiter has noticed."""
        return int(self._waiter["handoffs"][0])

    @property
    def spurious(self) -> int:
        """Returns from MWAIT that found NEED_RESCHED clear."""
        return int(self._waiter["spurious"][0])

    @property
    def need_resched(self) -> bool:
        """The waker is past its store, and the waiter has not noticed yet."""
        return int(self._stores[0]) > self.handoffs + int(self._waiter["parked"][0])

    def latencies_ns(self) -> NDArray[np.uint32]:
        """Time from just before the waking store until the waiter has seen it, for the last 2^18
        handoffs, in no particular order. A copy. 0xFFFFFFFF stands for what does not fit.
        """
        return np.array(self._ring[: min(self.handoffs, _RING_SIZE)], dtype=np.uint32)
