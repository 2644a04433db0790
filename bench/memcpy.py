"""How fast the host itself copies: what a string instruction of the guest can be held against."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter


class HostCopy:
    """memcpy() from one buffer of so many bytes into another; contiguous memoryviews come to it."""

    def __init__(self, size: int) -> None:
        # Written to, so that no two pages of the source are the host's one page of zeros.
        self.source = memoryview(bytearray(b"\x5a" * size))
        self.target = memoryview(bytearray(size))

    def copies(self, count: int) -> float:
        """Copy so often; the seconds that it took."""
        source, target = self.source, self.target
        start = perf_counter()
        for _ in repeat(None, count):
            target[:] = source
        return perf_counter() - start
