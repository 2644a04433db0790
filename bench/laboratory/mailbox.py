"""A guest of the laboratory seen from the host: its parameters, counters, latencies and doorbell.

The addresses are those that the head of bench/laboratory/guests/laboratory.inc documents. One
mailbox stands for one machine; reads are live, and may be made while the guest runs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from bench.laboratory.measures import new_histogram
from bench.laboratory.parameter import LaboratoryError
from x86core import Memory

#: Bytes of guest memory that a machine needs, and how many vCPUs it may have.
MEMORY_SIZE: Final = 4 << 20
MOST_VCPUS: Final = 64

#: Interrupts at vCPU 0 with these vectors have it end the machine, and wake it from HLT.
STOP_VECTOR: Final = 0x2F
WAKE_VECTOR: Final = 0x30

#: How many words a guest may have.
MOST_WORDS: Final = 16

_PARAMETERS = 0x10000
_WORDS = _PARAMETERS + 0x40
_STARTED = 0x11000
_RECORDS = 0x12000
_FLAGS_PAGES = 0x20000
_BLOCKS = 0x60000
_LATENCIES = 0x100000
_RING = 0x200000
_RING_ENTRIES = 16

#: An entry of the ring is a page, its head included.
ENTRY_HEAD: Final = 16
MOST_ENTRY_BYTES: Final = 4096 - ENTRY_HEAD

_BINS = 3328
_BIN_BYTES = 16 << 10

_RECORD = np.dtype(
    {"names": ["stamp", "sent"], "formats": ["<u8", "<u8"], "offsets": [0, 8], "itemsize": 64}
)
_BLOCK = np.dtype(
    {
        "names": ["work", "wakes", "spurious", "timers", "consumed"],
        "formats": ["<u8", "<u8", "<u8", "<u8", "<u4"],
        "offsets": [0, 8, 16, 24, 32],
        "itemsize": 4096,
    }
)

#: By how much no counter grows between two reads in a row: one that seems to has been read between
#: the two halves of its being written.
_TORN = 1 << 31


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters so far, arrays with an item for each vCPU; `bins` has shape (vCPUs, 3328)."""

    work: NDArray[np.uint64]
    wakes: NDArray[np.uint64]
    spurious: NDArray[np.uint64]
    bins: NDArray[np.uint32]

    def since(self, before: Sample) -> Sample:
        """What has been added to an earlier sample."""
        return Sample(
            self.work - before.work,
            self.wakes - before.wakes,
            self.spurious - before.spurious,
            self.bins - before.bins,
        )

    def latencies(self) -> HdrHistogram:
        """Wake latencies of all vCPUs in ns, each to within 0.4 %."""
        histogram = new_histogram()
        counts = self.bins.sum(axis=0, dtype=np.uint64)
        for index in np.flatnonzero(counts):
            histogram.record_value(latency_of_bin(int(index)), int(counts[index]))
        return histogram


class Mailbox:
    """That of a machine with `vcpus` vCPUs on `memory`."""

    def __init__(self, memory: Memory, vcpus: int) -> None:
        ram = memory.view()
        self._memory = memory
        self._records = ram[_RECORDS:][: vcpus * _RECORD.itemsize].view(_RECORD)
        self._blocks = ram[_BLOCKS:][: vcpus * _BLOCK.itemsize].view(_BLOCK)
        self._flags = ram[_FLAGS_PAGES:][: vcpus * 4096].view("<u4").reshape(vcpus, 1024)
        bins = ram[_LATENCIES:][: vcpus * _BIN_BYTES].view("<u4")
        self._bins = bins.reshape(vcpus, _BIN_BYTES // 4)[:, :_BINS]
        self._started = ram[_STARTED:][:4].view("<u4")
        self.vcpus = vcpus

    def configure(self, words: Sequence[int], *, idle_by_hlt: bool, seed: int) -> None:
        """Set what the guest is to do; before it runs.

        Raises LaboratoryError for words that do not fit in 32 bits, and for too many.
        """
        if len(words) > MOST_WORDS or not all(0 <= word < 1 << 32 for word in words):
            raise LaboratoryError(f"a guest takes up to {MOST_WORDS} words of 32 bits, not {words}")
        head = struct.pack("<3I", self.vcpus, idle_by_hlt, seed & 0xFFFF_FFFF)
        self._memory.write(_PARAMETERS, head)
        self._memory.write(_WORDS, struct.pack(f"<{len(words)}I", *words))

    @property
    def flags_pages(self) -> tuple[int, int]:
        """Address and size of the pages with the vCPUs' flags, by which they wake one another."""
        return _FLAGS_PAGES, 4096 * self.vcpus

    @property
    def all_started(self) -> bool:
        """Every vCPU is through with its preparations."""
        return int(self._started[0]) == self.vcpus

    def sample(self) -> Sample:
        """All counters, now."""
        return Sample(
            self._steady("work"), self._steady("wakes"), self._steady("spurious"), self._bins.copy()
        )

    def wakes(self, vcpu: int) -> int:
        """Wakes that this vCPU has noticed."""
        return int(self._blocks["wakes"][vcpu])

    def spurious(self, vcpu: int) -> int:
        """How often this vCPU came out of MWAIT or HLT for nothing."""
        return int(self._blocks["spurious"][vcpu])

    def need_resched(self, vcpu: int) -> bool:
        """Whether it has been sent a wake, by the doorbell too, that it has not noticed."""
        return int(self._records["sent"][vcpu]) > self.wakes(vcpu) or self.entries_waiting(vcpu) > 0

    def entries_waiting(self, vcpu: int) -> int:
        """How many of the device's entries this vCPU has not consumed."""
        return (self._doorbell(vcpu) - int(self._blocks["consumed"][vcpu])) & 0xFFFF_FFFF

    def write_entry(self, now_ns: int, size: int) -> bool:
        """Write `size` bytes into the device's ring and ring vCPU 0's doorbell, at guest time
        `now_ns`. False, and nothing is written, when the ring is full.

        Raises LaboratoryError for a size that is not a multiple of 4 up to MOST_ENTRY_BYTES.
        """
        if not 0 <= size <= MOST_ENTRY_BYTES or size % 4:
            raise LaboratoryError(
                f"an entry has 0 to {MOST_ENTRY_BYTES} bytes, a multiple of 4, not {size}"
            )
        if self.entries_waiting(0) >= _RING_ENTRIES:
            return False
        number = self._doorbell(0)
        head = struct.pack("<QII", now_ns, number, size // 4)
        address = _RING + 4096 * (number % _RING_ENTRIES)
        self._memory.write(address, head + b"\x5a" * size)
        self._memory.write(_FLAGS_PAGES + 4, struct.pack("<I", (number + 1) & 0xFFFF_FFFF))
        return True

    def _doorbell(self, vcpu: int) -> int:
        return int(self._flags[vcpu, 1])

    def _steady(self, name: str) -> NDArray[np.uint64]:
        """A counter of 8 bytes of all vCPUs, none of them read between its two halves."""
        counters = self._blocks[name]
        first = counters.copy()
        while True:
            second = counters.copy()
            if not np.any(second - first >= _TORN):  # downwards is a large difference, too
                return second
            first = second


def latency_of_bin(index: int) -> int:
    """The middle of the latencies in ns that are counted at this index."""
    if index < 256:
        return index
    shift = index // 128 - 1
    least = (128 + index % 128) << shift
    return least + (1 << shift) // 2
